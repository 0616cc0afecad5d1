// cli/format.h -- how one stream of one target's output looks on ours.
//
// Pure: bytes in, in any split; text to be written in one piece out. Holds back at most a line of kLineMax,
// or the beginning of a character. The text can be far longer than the bytes (a newline becomes a prefix and
// a newline), so it is made a piece at a time: who waits for a reader keeps bytes, not text.
//
// Thread: any, one at a time; Writer uses them on its own.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "cli/events.h"
#include "cli/printable.h"

namespace banyan::cli {

constexpr std::size_t kLineMax = 64 * 1024;  // a longer line is cut into lines of this length

// Of text, or of bytes for an event: a frame's worth. A piece is beyond it by no more than one line, escaped.
constexpr std::size_t kPieceBytes = 64 * 1024;

class StreamFormat {
 public:
  virtual ~StreamFormat() = default;
  // Appends the text of as many of the bytes as make about one piece; returns how many those were: also none,
  // when there was text before them. REQUIRES: not empty.
  virtual std::size_t take(std::string_view bytes, std::string& out) = 0;
  // The text of all of them, however long.
  std::string feed(std::string_view bytes);
  // Bytes are missing here: what was held back belongs to nothing that follows.
  virtual void cut() = 0;
  // The stream has ended: what was held back.
  virtual std::string finish() = 0;
};

// Text that is made as it is written.
class TextSource {
 public:
  virtual ~TextSource() = default;
  // Appends about one piece; false when there was none left.
  virtual bool next(std::string& out) = 0;
};

// The bytes as they come, escaped for a terminal when asked.
class PlainFormat final : public StreamFormat {
 public:
  explicit PlainFormat(bool escape) : escape_(escape) {}
  std::size_t take(std::string_view bytes, std::string& out) override;
  void cut() override;
  std::string finish() override;

 private:
  const bool escape_;
  TerminalEscaper escaper_{true};
};

// Whole lines with the target in front; the last one gets its newline if it has none.
class LineFormat final : public StreamFormat {
 public:
  // `prefix` with all that stands before the line's first byte.
  LineFormat(std::string prefix, bool escape) : prefix_(std::move(prefix)), escape_(escape) {}
  // Of the lines that are finished from now on.
  void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }
  std::size_t take(std::string_view bytes, std::string& out) override;
  void cut() override { line_.clear(); }
  std::string finish() override;

 private:
  void add_line(std::string& out, std::string_view line) const;
  std::string prefix_;
  const bool escape_;
  std::string line_;  // the one not finished yet
};

// Events. A character is not torn apart, so that text stays text.
class JsonFormat final : public StreamFormat {
 public:
  JsonFormat(const Events& events, std::string target, bool is_err)
      : events_(events), target_(std::move(target)), is_err_(is_err) {}
  std::size_t take(std::string_view bytes, std::string& out) override;
  void cut() override { held_.clear(); }
  std::string finish() override;

 private:
  const Events events_;
  const std::string target_;
  const bool is_err_;
  std::string held_;  // at most 3 bytes
};

}  // namespace banyan::cli
