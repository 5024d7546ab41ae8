// Linked into every program of a build with sanitizers (LOCKSTEP_SANITIZE).
#include <dlfcn.h>

// Open MPI unloads its plugins before the leak check runs, which then could not tell whose code
// allocated what they leave behind.
extern "C" int dlclose(void*) noexcept { return 0; }

// Known: what these libraries keep until the process ends. The last is Open MPI's asprintf, whose
// callers have no frame pointers to follow; no code of this project calls it.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libopen-pal\n"
         "leak:libopen-rte\n"
         "leak:libmpi.so\n"
         "leak:libpmix\n"
         "leak:libhwloc\n"
         "leak:libevent\n"
         "leak:libmca_common_\n"
         "leak:/openmpi/lib/openmpi3/mca_\n"
         "leak:/pmix2/lib/pmix/mca_\n"
         "leak:__vasprintf_internal\n";
}

extern "C" const char* __lsan_default_options() { return "print_suppressions=0"; }

// Where the thread-local memory of a plugin begins, the sanitizer guesses; now and then it guesses
// wrong, and the leak check ends with a fault of its own.
extern "C" const char* __asan_default_options() { return "intercept_tls_get_addr=0"; }

extern "C" const char* __ubsan_default_options() { return "print_stacktrace=1"; }
