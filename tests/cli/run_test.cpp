// Goal: who typed a shell's line where a program's name belongs is told so, and nobody else.
// Method: commands that were not found.
#include "cli/run.h"

#include <catch2/catch.hpp>

using namespace banyan::cli;

TEST_CASE("a line or a word of the shell's is told from a program that is missing") {
  using Words = std::vector<std::string>;
  for (const Words& command : {Words{"uname -a"}, Words{"a|b"}, Words{"x>y"}, Words{"$HOME/x"},
                               Words{"cd", "/"}, Words{"export", "A=b"}, Words{"source", "x"}, Words{"."}}) {
    CAPTURE(command);
    CHECK(shell_hint(command).find("use --sh") != std::string_view::npos);
  }
  for (const Words& command : {Words{"uname"}, Words{"my program", "-x"}, Words{"cdd", "/"}}) {
    CAPTURE(command);
    CHECK(shell_hint(command).empty());
  }
}
