// Goal: what a machine lacks for a test is counted and named, and never passes for a success.
// Method: this very program, one test of it, where no server and no ssh are to be found.
#include <filesystem>

#include "tests/end_to_end/program.h"

using namespace banyan::test;
using banyan::cat;

TEST_CASE("a test that lacks its server is skipped with its reason, and has not passed") {
  const std::string file = cat(std::string_view(std::getenv("TMPDIR")), "/said");
  const std::string line =
      cat("BANYAN_HIDE_SERVERS=1 '", std::filesystem::read_symlink("/proc/self/exe").string(),
          "' 'the default key exchange works as well' >'", file, "' 2>&1");
  const int status = std::system(line.c_str());
  const std::string said = read_file(file);
  ::unlink(file.c_str());
  CAPTURE(said);
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(contains(said, "skipped (sshd): there is no sshd"));
  CHECK(contains(said, "; \"the default key exchange works as well\"\n"));
  CHECK(said.ends_with("tally: 0 passed, 0 failed, 1 skipped\n"));
}
