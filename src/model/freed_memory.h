// What glibc's allocator does with large blocks between steps.
#pragma once

namespace lockstep {

/// By default glibc gives large blocks back to the system as soon as they are freed, and a training
/// step, which frees and takes the same ones again, spends 5 % of its time on page faults, with
/// batches of 512 images 15 %. From now on this process keeps up to 1 GiB of freed memory at the
/// end of its heap, from which all blocks come, whatever their size.
void keep_freed_memory();

}  // namespace lockstep
