// core/assert.h -- what we do when the fault is ours: stop at once, in every build.
//
// ASSERT never sees a byte that came from outside: a peer's fault closes its link, the world's is a Result
// (docs/architecture.md, "Three kinds of failure").
#pragma once

namespace banyan {

// Writes one line to descriptor 2 and aborts. Never returns, never allocates.
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);

}  // namespace banyan

#ifdef BANYAN_IMAGE  // which is small: the place says it all
#define ASSERT(expression) \
  (static_cast<bool>(expression) ? void(0) : ::banyan::assertion_failed("", __FILE__, __LINE__))
#else
#define ASSERT(expression) \
  (static_cast<bool>(expression) ? void(0) : ::banyan::assertion_failed(#expression, __FILE__, __LINE__))
#endif
