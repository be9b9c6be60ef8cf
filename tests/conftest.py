"""What every test starts from."""

import signal

# started in the background by a shell, we would ignore SIGINT, and so would every program under test
signal.signal(signal.SIGINT, signal.default_int_handler)
