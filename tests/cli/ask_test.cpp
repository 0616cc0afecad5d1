// Goal: questions go where ssh would have put them, and what a host says in one looks like that host's.
// Method: the environment, as a table; texts, and the rows they become; what a read can give.
#include "cli/ask.h"

#include <catch2/catch.hpp>
#include <cerrno>

#include "core/text.h"

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

TEST_CASE("each row that a foreign text takes begins with who says it, whatever fills the text") {
  const std::string who = "(ann@web1) ", fake = "Enter passphrase for key '/id': ";
  const std::string blanks(69, ' '), wide = "\u3000\u3000\u3000\u3000", letters(69, 'x');
  for (const std::string& filling : {blanks, wide + wide + wide + wide + wide, letters, std::string(69, '\t'),
                                     std::string(40, '\x9b'), std::string(40, '\x1b')}) {
    for (const std::size_t columns : {20u, 80u, 132u}) {
      CAPTURE(filling, columns);
      std::string rows = in_rows(who, filling + fake, columns) + "\n";
      while (!rows.empty()) {
        const std::string row = rows.substr(0, rows.find('\n'));
        rows.erase(0, row.size() + 1);
        CHECK(row.starts_with(columns == 20 ? "(ann@web1)" : who));
        std::size_t taken = 0;
        for (const char c : row) taken += (c & 0x80) == 0 ? 1 : (c & 0xc0) == 0xc0 ? 2 : 0;
        CHECK(taken < columns);
      }
    }
  }
  CHECK(in_rows(who, "Password:   \t ", 80) == "(ann@web1) Password: ");
  CHECK(in_rows(who, "", 80) == who);
}

TEST_CASE("a foreign line, and who says it, are shortened to what is still read") {
  const std::string row = in_rows("h: ", std::string(1'000, 'x'), 1'000);
  CHECK(row == banyan::cat("h: ", std::string(200, 'x'), "..."));
  const std::string long_name = in_rows(banyan::cat(std::string(300, 'n'), " "), "Password: ", 80);
  CHECK(long_name == banyan::cat(std::string(40, 'n'), "... Password: "));
}

TEST_CASE("half a line is no answer when the terminal fails, and is one at the end of input") {
  CHECK(terminal_read(5, 0, true) == TerminalRead::kBytes);
  CHECK(terminal_read(-1, EAGAIN, false) == TerminalRead::kNothing);
  CHECK(terminal_read(-1, EINTR, false) == TerminalRead::kNothing);
  CHECK(terminal_read(-1, EIO, false) == TerminalRead::kFailed);
  CHECK(terminal_read(-1, EIO, true) == TerminalRead::kFailed);
  CHECK(terminal_read(0, 0, true) == TerminalRead::kFailed);
  CHECK(terminal_read(0, 0, false) == TerminalRead::kEnd);
}
