// bits/os_defines.h -- what libstdc++ asks of the C library, answered for musl.
//
// Debian's libstdc++ headers were configured for glibc. This file stands before them in the search path and
// takes the place of theirs of the same name.
#ifndef _GLIBCXX_OS_DEFINES
#define _GLIBCXX_OS_DEFINES 1

#define __NO_CTYPE 1
#include <features.h>

// Without this libstdc++ asks for pthread functions by weak references; a static link leaves those null, and
// locks would silently do nothing.
#define _GLIBCXX_GTHREAD_USE_WEAK 0
#define _GLIBCXX_NATIVE_THREAD_ID pthread_self()

// Declared but never called: locales stay out of the agent.
typedef struct __locale_struct* __locale_t;

// Character classes of glibc, which bits/ctype_base.h names.
enum {
  _ISupper = 0x100,
  _ISlower = 0x200,
  _ISalpha = 0x400,
  _ISdigit = 0x800,
  _ISxdigit = 0x1000,
  _ISspace = 0x2000,
  _ISprint = 0x4000,
  _ISgraph = 0x8000,
  _ISblank = 0x1,
  _IScntrl = 0x2,
  _ISpunct = 0x4,
  _ISalnum = 0x8
};

#endif
