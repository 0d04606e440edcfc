// The optional /dev/watchdog: open while a deadline is enforced, fed only while now + W < E', closed with 'V' afterwards.
// It ends the whole host if guard and postmaster are both stopped past the lease.
#define _GNU_SOURCE
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int device = -1;
static bool complained;

static void close_device(void) {
    // Without the magic character the device goes on counting and ends the host.
    ssize_t ignored = write(device, "V", 1);
    (void)ignored;
    close(device);
    device = -1;
    note("watchdog disarmed");
}

void watchdog_tend(int64_t now) {
    if (!guard.watchdog_path) return;
    // Once open it stays so until PostgreSQL is silent or the deadline was suspended: a stop that hangs is its very case.
    bool ending = guard.stopping.active || guard.postmaster.life == LEFTOVERS;
    bool wanted = guard.postmaster.life != SILENT && (deadline_enforced() || (ending && device >= 0));
    if (!wanted) {
        if (device >= 0) close_device();
        return;
    }
    bool fits = guard.lease.armed && now + guard.watchdog_timeout < guard.lease.end;
    if (device < 0) {
        // Never opened when it could not be fed: it would end a healthy host.
        if (!fits) {
            guard.degraded |= MG_DEGRADED_WATCHDOG;
            return;
        }
        device = open(guard.watchdog_path, O_WRONLY | O_CLOEXEC);
        if (device < 0) {
            guard.degraded |= MG_DEGRADED_WATCHDOG;
            if (!complained) note("cannot open the watchdog %s: %s", guard.watchdog_path, strerror(errno));
            complained = true;
            return;
        }
        int seconds = (int)(guard.watchdog_timeout / SECOND);
        // Refused by a device with a fixed timeout, and by a plain file in tests. The device's own answer counts.
        if (ioctl(device, WDIOC_SETTIMEOUT, &seconds) == 0 && seconds * SECOND > guard.watchdog_timeout)
            guard.watchdog_timeout = seconds * SECOND;
        guard.degraded &= ~MG_DEGRADED_WATCHDOG;
        note("watchdog armed: %d s", seconds);
        fits = now + guard.watchdog_timeout < guard.lease.end;
    }
    if (fits) {
        ssize_t ignored = write(device, "\0", 1);
        (void)ignored;
    }
}
