// Goal: nothing that a host says drives a terminal, in whatever pieces it comes.
// Method: the first byte splits the rest; the pieces must give what the whole gives, in UTF-8 without control
// characters, and a second pass must change nothing.

#include "cli/format.h"
#include "core/assert.h"
#include "core/bytes.h"

using namespace banyan;
using namespace banyan::cli;

namespace {

void check_harmless(const std::string& text, bool one_line) {
  ASSERT(is_utf8(text));
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    ASSERT(byte != 0x7f && (byte >= 0x20 || (!one_line && (c == '\n' || c == '\t'))));
  }
  for (const char* bad : {"\xc2\x80", "\xc2\x9b", "\xe2\x80\xae", "\xe2\x81\xa6", "\xd8\x9c"}) {
    ASSERT(text.find(bad) == std::string::npos);
  }
}

template <class Stream>
std::string in_pieces(Stream stream, std::string_view text, std::size_t piece) {
  std::string out;
  for (; !text.empty(); text.remove_prefix(std::min(piece, text.size())))
    out += stream.feed(text.substr(0, piece));
  out += stream.finish();
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = 1 + data[0] % 16;
  const std::string_view text = as_text(Bytes(data + 1, size - 1));

  const std::string line = printable(text);
  check_harmless(line, true);
  ASSERT(printable(line) == line);

  const std::string escaped = in_pieces(TerminalEscaper(false), text, size);
  check_harmless(escaped, false);
  ASSERT(in_pieces(TerminalEscaper(false), escaped, escaped.size() + 1) == escaped);
  ASSERT(in_pieces(TerminalEscaper(false), text, piece) == escaped);

  const std::string lines = in_pieces(LineFormat("web1: ", true), text, size);
  ASSERT(in_pieces(LineFormat("web1: ", true), text, piece) == lines);
  check_harmless(lines, false);
  for (std::size_t at = 0; at < lines.size(); at = lines.find('\n', at) + 1) {
    ASSERT(std::string_view(lines).substr(at).starts_with("web1: "));
  }
  return 0;
}
