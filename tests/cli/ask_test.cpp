// Goal: questions go where ssh would have put them.
// Method: the environment, as a table.
#include "cli/ask.h"

#include <catch2/catch.hpp>

using namespace banyan::cli;

TEST_CASE("the terminal is asked, or the program that SSH_ASKPASS names, as SSH_ASKPASS_REQUIRE says") {
  const struct {
    const char* program;
    const char* require;
    bool has_display, has_terminal;
    AskBy by;
  } table[] = {
      {"", "", false, false, AskBy::kNobody},
      {"", "", true, true, AskBy::kTerminal},
      {"", "force", true, true, AskBy::kTerminal},
      {"/ask", "", true, true, AskBy::kTerminal},
      {"/ask", "", false, false, AskBy::kProgram},
      {"/ask", "never", true, false, AskBy::kNobody},
      {"/ask", "never", true, true, AskBy::kTerminal},
      {"/ask", "FORCE", false, true, AskBy::kProgram},
      {"/ask", "prefer", true, true, AskBy::kProgram},
      {"/ask", "prefer", false, true, AskBy::kTerminal},
      {"/ask", "prefer", false, false, AskBy::kProgram},
  };
  for (const auto& row : table) {
    CAPTURE(row.program, row.require, row.has_display, row.has_terminal);
    CHECK(ask_by({row.program, row.require, row.has_display, row.has_terminal}) == row.by);
  }
}
