// cli/spill.h -- texts that are kept for later: in memory up to a bound, beyond it in a temporary file.
//
// The file has no name once it is open, so nothing can be left behind. What memory holds beyond the bound are
// the unfinished ends of texts, less than a block each. Where the file takes no more (a full disk), texts
// stay in memory and has_failed() tells: whoever appends stops.
//
// Thread: one at a time; reads and writes of the file wait for the disk, so not the loop's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/fd.h"

namespace banyan::cli {

constexpr std::size_t kSpillBlockBytes = 16 * 1024;  // lost at the end of a text: little beside many lines
constexpr std::size_t kHeldMemoryMax = 16 << 20;     // what a root with a hundred children may take anyway
constexpr std::uint64_t kSpillFileMax = 4ULL
                                        << 30;  // of a disk that others want too; more nobody compares by eye

class Spill {
 public:
  class Text {
   public:
    std::uint64_t bytes() const { return bytes_; }

   private:
    friend class Spill;
    struct Block {
      std::string memory;      // or, when it is empty,
      std::uint32_t slot = 0;  // in the file
      std::uint32_t bytes = 0;
    };
    std::vector<Block> blocks_;
    std::string tail_;  // a block that is not full
    std::uint64_t bytes_ = 0;
  };

  // The file lies in `folder`; without one in $TMPDIR, else in /var/tmp, else in /tmp.
  explicit Spill(std::string folder = {}, std::size_t memory_max = kHeldMemoryMax,
                 std::uint64_t file_max = kSpillFileMax);
  Spill(const Spill&) = delete;
  Spill& operator=(const Spill&) = delete;

  // Always taken.
  void append(Text& text, std::string_view bytes);
  // Nothing more comes.
  void seal(Text& text);
  void drop(Text& text);

  // Block by block, from 0: false after the last. What cannot be read back is replaced by a line that says
  // so.
  bool read(const Text& text, std::size_t block, std::string& into);

  bool has_failed() const { return !failure_.empty(); }
  const std::string& failure() const { return failure_; }  // why, for people
  std::size_t in_memory() const { return in_memory_; }
  std::uint64_t in_file() const { return std::uint64_t(slots_ - free_.size()) * kSpillBlockBytes; }

 private:
  void put_away(Text::Block& block);
  bool open_file();
  void fail(std::string_view what, int error);

  const std::string folder_;
  const std::size_t memory_max_;
  const std::uint64_t file_max_;
  Fd file_;
  std::size_t in_memory_ = 0;
  std::uint32_t slots_ = 0;          // that the file has
  std::vector<std::uint32_t> free_;  // of those
  std::string failure_;
};

}  // namespace banyan::cli
