// tests/support/leaks.h -- what a test left behind: descriptors, processes, temporary files, shared memory.
//
// The test program's main asks after every test, so no test has to. TMPDIR and XDG_RUNTIME_DIR lead to a
// private folder while the program runs, and the program adopts orphans of its children: so a file, or a
// process that forked itself out of sight, is found here as well.
#pragma once

#include <set>
#include <string>
#include <vector>

namespace banyan::test {

class LeakCheck {
 public:
  LeakCheck();   // makes the private folder, adopts orphans
  ~LeakCheck();  // removes the folder
  LeakCheck(const LeakCheck&) = delete;
  LeakCheck& operator=(const LeakCheck&) = delete;

  void start();
  // One line for each thing left behind. Processes get a moment to end by themselves, and are then killed, so
  // that one test's fault is not the next one's.
  std::vector<std::string> finish();

 private:
  std::string folder_;
  std::set<int> descriptors_;
  std::set<std::string> images_;
  std::multiset<std::string> shared_memory_;
};

}  // namespace banyan::test
