// tests/support/watchdog.h -- a test that hangs says where before ctest kills it, and with it all it had to
// say.
#pragma once

namespace banyan::test {

// BANYAN_TEST_SECONDS after now the program ends: with the name of the test it is in, and the processes this
// one waits for. Without that variable it may take what it takes, as in a debugger.
void start_watchdog();

// `name` stays where it is until the next call.
void watch_test(const char* name);

}  // namespace banyan::test
