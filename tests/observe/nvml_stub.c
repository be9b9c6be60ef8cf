/* A libnvidia-ml.so.1 whose cards are written in a file: tests change the file, the library reads it at each call.
 *
 * $NVML_STUB names the file. Its lines, in any order:
 *   hang SECONDS              every call waits so long, again and again, while the line is there
 *   init CODE                 nvmlInit fails
 *   fail CODE                 every question about a card fails
 *   card UUID MODEL TOTAL USED   the next card; sizes in MiB, '_' in the model is a space
 *   lost INDEX                that card fell off the bus
 *   compute INDEX PID MIB     a process on it; MIB -1: not told
 *   graphics INDEX PID MIB
 *   link INDEX INDEX          an NVLink between two cards
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, SMALL = 7, LOST = 15 };
enum { MOST = 16 };

typedef struct { char uuid[96], model[96]; unsigned long long total, used; int lost; } Card;
typedef struct { unsigned pid; unsigned long long memory; unsigned gpu, compute; } Process;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } Pci;

static Card cards[MOST];
static struct { int card, graphics; Process process; } running[64];
static struct { int a, b; } links[64];
static int card_count, running_count, link_count, init_code, fail_code, hang;

static void load(void) {
    do {
        card_count = running_count = link_count = init_code = fail_code = hang = 0;
        FILE *file = fopen(getenv("NVML_STUB"), "r");
        if (!file) return;
        char line[512];
        while (fgets(line, sizeof line, file)) {
            Card card = {0};
            int index, pid, other;
            long long mib;
            if (sscanf(line, "hang %d", &hang) == 1 || sscanf(line, "init %d", &init_code) == 1 ||
                sscanf(line, "fail %d", &fail_code) == 1) continue;
            if (sscanf(line, "card %95s %95s %llu %llu", card.uuid, card.model, &card.total, &card.used) == 4) {
                for (char *c = card.model; *c; c++) if (*c == '_') *c = ' ';
                card.total <<= 20; card.used <<= 20;
                cards[card_count++] = card;
            } else if (sscanf(line, "lost %d", &index) == 1) cards[index].lost = 1;
            else if (sscanf(line, "link %d %d", &index, &other) == 2) {
                links[link_count].a = index; links[link_count++].b = other;
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
    if (index < 0 || index >= card_count) return INVALID;
    return cards[index].lost ? LOST : fail_code;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; load(); return init_code; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) {
    return code == LOST ? "GPU is lost" : code == 9 ? "Driver Not Loaded" : code == 999 ? "Unknown Error" : "Stub Error";
}
int nvmlDeviceGetCount_v2(unsigned *count) { load(); *count = card_count; return fail_code; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    load();
    if ((int)index >= card_count) return INVALID;
    if (cards[index].lost) return LOST;
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
    memory[0] = card->total; memory[1] = card->total - card->used; memory[2] = card->used;
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
int nvmlDeviceGetNvLinkRemotePciInfo_v2(void *device, unsigned link, Pci *pci) {
    int other = other_end(device, link);
    if (other < 0) return UNSUPPORTED;
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", other);
    return SUCCESS;
}
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, void **device) {
    unsigned bus;
    if (sscanf(bus_id, "00000000:%X:00.0", &bus) != 1 || (int)bus >= card_count) return NOT_FOUND;
    *device = (void *)(intptr_t)(bus + 1);
    return SUCCESS;
}
