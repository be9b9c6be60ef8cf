/* A libnvidia-ml.so.1 whose cards are written in a file: tests change the file, the library reads it at each call.
 *
 * $NVML_STUB names the file. Its lines, cards before what is said of them:
 *   hang SECONDS              every call waits so long, again and again, while the line is there
 *   init CODE                 nvmlInit fails
 *   fail CODE                 every question about a card fails
 *   card UUID MODEL TOTAL USED   the next card; sizes in MiB, '_' in the model is a space
 *   lost INDEX                that card fell off the bus
 *   broken INDEX CODE         every question about that card fails
 *   slow INDEX MILLISECONDS   the memory of that card is told so late
 *   compute INDEX PID MIB     a process on it; MIB -1: not told
 *   graphics INDEX PID MIB
 *   link INDEX INDEX          an NVLink between two cards
 *   sense INDEX PERCENT CELSIUS MILLIWATTS MHZ
 *   ecc INDEX COUNT           uncorrectable errors since the driver was loaded
 *   numa INDEX NODE
 *   action INDEX NUMBER       what the driver says has to be done to it
 *   persistence INDEX ON
 *   xid NUMBER INDEX XID      an error, told once to those who wait; NUMBER grows
 *   mig INDEX                 MIG is on
 *   part INDEX UUID TOTAL USED   a MIG instance of that card
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, SMALL = 7, TIMEOUT = 10, LOST = 15 };
enum { MOST = 32, RECOVERY_ACTION = 230 };

typedef struct {
    char uuid[96], model[96];
    unsigned long long total, used, ecc;
    int parent, code, slow, senses, percent, celsius, milliwatts, mhz, numa, action, persistent, mig;
} Card;
typedef struct { unsigned pid; unsigned long long memory; unsigned gpu, compute; } Process;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } Pci;
typedef struct { void *device; unsigned long long type, data; unsigned gpu, compute; } Event;
typedef struct {
    unsigned field, scope; long long timestamp, latency; unsigned type, code;
    union { unsigned number; unsigned long long large; } value;
} Field;

/* Cards first, then the parts of cards: a handle is the place in this table, from 1. */
static Card cards[MOST];
static struct { int card, graphics; Process process; } running[64];
static struct { int a, b; } links[64];
static struct { int number, card, xid; } xids[64];
static int card_count, all_count, running_count, link_count, xid_count, init_code, fail_code, hang, xids_told;

static void load(void) {
    do {
        card_count = all_count = running_count = link_count = xid_count = init_code = fail_code = hang = 0;
        FILE *file = fopen(getenv("NVML_STUB"), "r");
        if (!file) return;
        char line[512];
        while (fgets(line, sizeof line, file)) {
            Card card = {.parent = -1, .numa = -1};
            int index, pid, a, b, c, d;
            long long mib;
            if (sscanf(line, "hang %d", &hang) == 1 || sscanf(line, "init %d", &init_code) == 1 ||
                sscanf(line, "fail %d", &fail_code) == 1) continue;
            if (sscanf(line, "card %95s %95s %llu %llu", card.uuid, card.model, &card.total, &card.used) == 4) {
                for (char *at = card.model; *at; at++) if (*at == '_') *at = ' ';
                card.total <<= 20; card.used <<= 20;
                cards[all_count++] = card; card_count++;
            } else if (sscanf(line, "part %d %95s %llu %llu", &card.parent, card.uuid, &card.total, &card.used) == 4) {
                snprintf(card.model, sizeof card.model, "%.80s MIG", cards[card.parent].model);
                card.total <<= 20; card.used <<= 20;
                cards[all_count++] = card;
            } else if (sscanf(line, "lost %d", &index) == 1) cards[index].code = LOST;
            else if (sscanf(line, "broken %d %d", &index, &a) == 2) cards[index].code = a;
            else if (sscanf(line, "slow %d %d", &index, &a) == 2) cards[index].slow = a;
            else if (sscanf(line, "ecc %d %d", &index, &a) == 2) cards[index].ecc = a;
            else if (sscanf(line, "numa %d %d", &index, &a) == 2) cards[index].numa = a;
            else if (sscanf(line, "action %d %d", &index, &a) == 2) cards[index].action = a;
            else if (sscanf(line, "persistence %d %d", &index, &a) == 2) cards[index].persistent = a;
            else if (sscanf(line, "mig %d", &index) == 1) cards[index].mig = 1;
            else if (sscanf(line, "sense %d %d %d %d %d", &index, &a, &b, &c, &d) == 5) {
                Card *of = &cards[index];
                of->senses = 1; of->percent = a; of->celsius = b; of->milliwatts = c; of->mhz = d;
            } else if (sscanf(line, "xid %d %d %d", &a, &index, &b) == 3) {
                xids[xid_count].number = a; xids[xid_count].card = index; xids[xid_count++].xid = b;
            } else if (sscanf(line, "link %d %d", &index, &a) == 2) {
                links[link_count].a = index; links[link_count++].b = a;
            } else {
                int graphics = sscanf(line, "graphics %d %d %lld", &index, &pid, &mib) == 3;
                if (!graphics && sscanf(line, "compute %d %d %lld", &index, &pid, &mib) != 3) continue;
                running[running_count].card = index; running[running_count].graphics = graphics;
                running[running_count].process = (Process){pid, mib < 0 ? UINT64_MAX : (unsigned long long)mib << 20, ~0u, ~0u};
                running_count++;
            }
        }
        fclose(file);
        if (hang) usleep(20000);
    } while (hang);
}

static int index_of(void *device) { return (int)(intptr_t)device - 1; }

static int about(void *device) {
    load();
    int index = index_of(device);
    if (index < 0 || index >= all_count) return INVALID;
    Card *card = &cards[index];
    int code = card->code ? card->code : card->parent >= 0 ? cards[card->parent].code : 0;
    return code ? code : fail_code;
}

/* Of a whole card that has sensors. */
static int senses(void *device) {
    int code = about(device);
    return code ? code : cards[index_of(device)].senses ? SUCCESS : UNSUPPORTED;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; load(); return init_code; }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) {
    return code == LOST ? "GPU is lost" : code == 9 ? "Driver Not Loaded" : code == 999 ? "Unknown Error" : "Stub Error";
}
int nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "580.95.05"); return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) { load(); *count = card_count; return fail_code; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    load();
    if ((int)index >= card_count) return INVALID;
    if (cards[index].code) return cards[index].code;
    *device = (void *)(intptr_t)(index + 1);
    return SUCCESS;
}
int nvmlDeviceGetIndex(void *device, unsigned *index) { *index = index_of(device); return SUCCESS; }
int nvmlDeviceGetUUID(void *device, char *text, unsigned size) {
    int code = about(device);
    if (!code) snprintf(text, size, "%s", cards[index_of(device)].uuid);
    return code;
}
int nvmlDeviceGetName(void *device, char *text, unsigned size) {
    int code = about(device);
    if (!code) snprintf(text, size, "%s", cards[index_of(device)].model);
    return code;
}
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long memory[3]) {
    int code = about(device);
    if (code) return code;
    Card *card = &cards[index_of(device)];
    if (card->slow) usleep(card->slow * 1000);
    memory[0] = card->total; memory[1] = card->total - card->used; memory[2] = card->used;
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo_v2(void *device, void *out) {
    struct { unsigned version; unsigned long long total, reserved, free, used; } *memory = out;
    int code = about(device);
    if (code) return code;
    Card *card = &cards[index_of(device)];
    memory->total = card->total; memory->reserved = 0; memory->used = card->used; memory->free = card->total - card->used;
    return SUCCESS;
}
static int processes(void *device, unsigned *count, Process *out, int graphics) {
    int code = about(device);
    if (code) return code;
    unsigned found = 0, room = *count;
    for (int i = 0; i < running_count; i++) {
        if (running[i].card != index_of(device) || running[i].graphics != graphics) continue;
        if (out && found < room) out[found] = running[i].process;
        found++;
    }
    *count = found;
    return found > (out ? room : 0) ? SMALL : SUCCESS;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned *count, Process *out) { return processes(d, count, out, 0); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *d, unsigned *count, Process *out) { return processes(d, count, out, 1); }

int nvmlDeviceGetUtilizationRates(void *device, unsigned rates[2]) {
    int code = senses(device);
    if (!code) { rates[0] = cards[index_of(device)].percent; rates[1] = 0; }
    return code;
}
int nvmlDeviceGetTemperature(void *device, unsigned sensor, unsigned *value) {
    int code = senses(device);
    if (!code) *value = cards[index_of(device)].celsius;
    return sensor ? INVALID : code;
}
int nvmlDeviceGetPowerUsage(void *device, unsigned *value) {
    int code = senses(device);
    if (!code) *value = cards[index_of(device)].milliwatts;
    return code;
}
int nvmlDeviceGetClockInfo(void *device, unsigned clock, unsigned *value) {
    int code = senses(device);
    if (!code) *value = cards[index_of(device)].mhz;
    return clock > 3 ? INVALID : code;
}
int nvmlDeviceGetTotalEccErrors(void *device, unsigned kind, unsigned counter, unsigned long long *count) {
    int code = about(device);
    if (!code) *count = kind == 1 && counter == 0 ? cards[index_of(device)].ecc : 0;
    return code;
}
int nvmlDeviceGetMemoryAffinity(void *device, unsigned size, unsigned long *set, unsigned scope) {
    int code = about(device);
    if (code || cards[index_of(device)].numa < 0) return code ? code : UNSUPPORTED;
    memset(set, 0, size * sizeof *set);
    set[0] = 1ul << cards[index_of(device)].numa;
    return scope ? INVALID : SUCCESS;
}
int nvmlDeviceGetFieldValues(void *device, int count, Field *fields) {
    int code = about(device);
    for (int i = 0; !code && i < count; i++) {
        fields[i].code = fields[i].field == RECOVERY_ACTION ? SUCCESS : UNSUPPORTED;
        fields[i].value.number = cards[index_of(device)].action;
    }
    return code;
}
int nvmlDeviceGetPersistenceMode(void *device, unsigned *on) {
    int code = about(device);
    if (!code) *on = cards[index_of(device)].persistent;
    return code;
}

int nvmlEventSetCreate(void **set) { load(); *set = (void *)1; return SUCCESS; }
int nvmlDeviceRegisterEvents(void *device, unsigned long long types, void *set) {
    (void)types; (void)set;
    return about(device);
}
int nvmlEventSetFree(void *set) { (void)set; return SUCCESS; }
int nvmlEventSetWait_v2(void *set, Event *event, unsigned milliseconds) {
    (void)set;
    for (unsigned waited = 0; ; waited += 5) {
        load();
        for (int i = 0; i < xid_count; i++) {
            if (xids[i].number <= xids_told) continue;
            xids_told = xids[i].number;
            *event = (Event){(void *)(intptr_t)(xids[i].card + 1), 8, xids[i].xid, ~0u, ~0u};
            return SUCCESS;
        }
        if (waited >= milliseconds) return TIMEOUT;
        usleep(5000);
    }
}

int nvmlDeviceGetMigMode(void *device, unsigned *now, unsigned *then) {
    int code = about(device);
    if (!code) *now = *then = cards[index_of(device)].mig;
    return code;
}
int nvmlDeviceIsMigDeviceHandle(void *device, unsigned *is) {
    int code = about(device);
    if (!code) *is = cards[index_of(device)].parent >= 0;
    return code;
}
int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *count) { *count = 7; return about(device); }
int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned index, void **part) {
    int code = about(device);
    if (code) return code;
    for (int i = card_count; i < all_count; i++) {
        if (cards[i].parent != index_of(device) || index--) continue;
        *part = (void *)(intptr_t)(i + 1);
        return SUCCESS;
    }
    return NOT_FOUND;
}

/* Each link of a card leads to the other end of the link of that number in the file. */
static int other_end(void *device, unsigned link) {
    load();
    unsigned at = 0;
    for (int i = 0; i < link_count; i++) {
        if (links[i].a != index_of(device) && links[i].b != index_of(device)) continue;
        if (at++ == link) return links[i].a == index_of(device) ? links[i].b : links[i].a;
    }
    return -1;
}
int nvmlDeviceGetNvLinkState(void *device, unsigned link, unsigned *active) {
    *active = 1;
    return other_end(device, link) < 0 ? UNSUPPORTED : SUCCESS;
}
static void on_bus(Pci *pci, int index) {
    memset(pci, 0, sizeof *pci);
    pci->bus = index;
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", index);
}
int nvmlDeviceGetNvLinkRemotePciInfo_v2(void *device, unsigned link, Pci *pci) {
    int other = other_end(device, link);
    if (other < 0) return UNSUPPORTED;
    on_bus(pci, other);
    return SUCCESS;
}
int nvmlDeviceGetPciInfo_v3(void *device, Pci *pci) {
    int code = about(device);
    if (!code) on_bus(pci, index_of(device));
    return code;
}
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, void **device) {
    unsigned bus;
    if (sscanf(bus_id, "00000000:%X:00.0", &bus) != 1 || (int)bus >= card_count) return NOT_FOUND;
    *device = (void *)(intptr_t)(bus + 1);
    return SUCCESS;
}
