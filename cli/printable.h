// cli/printable.h -- text from elsewhere, made safe to show on a terminal.
//
// A host's output, a name or an error may carry codes that move the cursor, set the clipboard or turn the
// writing direction. Escaped are: C0, DEL, C1, the bidirectional controls, and bytes that are not UTF-8. What
// comes out goes through unchanged a second time.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace banyan::cli {

// One line: newline, tab and carriage return are escaped as well, so nothing can pretend to be the next line.
std::string printable(std::string_view text);

// How many bytes at the end of `text` begin a UTF-8 character that is not finished there: 0 to 3.
std::size_t unfinished_utf8(std::string_view text);
bool is_utf8(std::string_view text);

// A stream of output, in any split. Newline and tab stay; a carriage return stays when asked, since progress
// bars need it, and a line with a prefix in front must not be overwritten by it.
class TerminalEscaper {
 public:
  explicit TerminalEscaper(bool keep_carriage_return) : keep_carriage_return_(keep_carriage_return) {}
  std::string feed(std::string_view bytes);
  // The end of the stream: what was held back as the beginning of a character.
  std::string finish();

 private:
  const bool keep_carriage_return_;
  std::string held_;  // at most 3 bytes
};

}  // namespace banyan::cli
