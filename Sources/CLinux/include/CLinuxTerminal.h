// The terminal's state is kept where a fault handler can reach it: whatever ends the process gives the terminal back.
#pragma once

// Puts the terminal into raw mode and arranges for its restoration at exit and on faults. 0 or -errno.
int cl_terminal_make_raw(int fd);

// Brings the saved state back, once; safe in a signal handler.
void cl_terminal_restore(void);
