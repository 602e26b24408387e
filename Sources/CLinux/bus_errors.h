#ifndef CL_BUS_ERRORS_H
#define CL_BUS_ERRORS_H

#include <setjmp.h>

// Has the process end at a SIGBUS that nobody awaits, when its terminal is as it was: whoever handled SIGBUS before, as
// Swift's runtime may to ask the terminal's user, does so no more.
void cl_end_at_bus_errors(void);

// A SIGBUS of this thread goes to the place from now on; NULL ends that.
void cl_await_bus_error(sigjmp_buf *place);

#endif
