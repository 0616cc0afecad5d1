// tests/support/slack.h -- how much longer than on an idle machine a thing may take in a test.
#pragma once

namespace banyan::test {

// So many seconds more on a busy machine, and a sanitizer takes its time too.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kSlack = 20;
#else
constexpr double kSlack = 6;
#endif

// Where a bound of the program's own is to be told from the next: enough for the same.
constexpr double kSmallSlack = kSlack / 2;

}  // namespace banyan::test
