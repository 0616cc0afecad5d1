// cli/format.h -- how one stream of one target's output looks on ours.
//
// Pure: bytes in, in any split; text to be written in one piece out. Holds back at most a line of kLineMax,
// or the beginning of a character.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "cli/events.h"
#include "cli/printable.h"

namespace banyan::cli {

constexpr std::size_t kLineMax = 64 * 1024;  // a longer line is cut into lines of this length

class StreamFormat {
 public:
  virtual ~StreamFormat() = default;
  virtual std::string feed(std::string_view bytes) = 0;
  // The stream has ended: what was held back.
  virtual std::string finish() = 0;
};

// The bytes as they come, escaped for a terminal when asked.
class PlainFormat final : public StreamFormat {
 public:
  explicit PlainFormat(bool escape) : escape_(escape) {}
  std::string feed(std::string_view bytes) override;
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
  std::string feed(std::string_view bytes) override;
  std::string finish() override;

 private:
  void add_line(std::string& out, std::string_view line) const;
  const std::string prefix_;
  const bool escape_;
  std::string line_;  // the one not finished yet
};

// Events. A character is not torn apart, so that text stays text.
class JsonFormat final : public StreamFormat {
 public:
  JsonFormat(const Events& events, std::string target, bool is_err)
      : events_(events), target_(std::move(target)), is_err_(is_err) {}
  std::string feed(std::string_view bytes) override;
  std::string finish() override;

 private:
  const Events events_;
  const std::string target_;
  const bool is_err_;
  std::string held_;  // at most 3 bytes
};

}  // namespace banyan::cli
