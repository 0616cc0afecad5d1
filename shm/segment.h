// shm/segment.h -- memory that processes share: sealed, so that nobody can take it away beneath a reader.
//
// An owner makes two anonymous files in memory (memfd). The first, header and rows, is sealed against
// shrinking, growing, holes, and any further mapping or description that could write: only the mapping that
// the owner made before can, and no child of a fork inherits that one. The second is the readers' page.
// Others reach both through descriptors: passed to them, or opened through the owner's folder in /proc. So
// there is nothing in a file system that could be left behind, and who has it mapped keeps it after the owner
// is gone.
//
// docs/design/004-shared-memory.md says why it is not shm_open().
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "shm/header.h"
#include "shm/result.h"
#include "shm/rows.h"

namespace banyan::shm {

// A descriptor with one owner.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int number) : number_(number) {}
  Fd(Fd&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Fd();
  int get() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }

 private:
  int number_ = -1;
};

// Pages, unmapped at the end; but not by the child of a fork, who does not have them.
class Mapping {
 public:
  Mapping() = default;
  Mapping(void* address, std::size_t bytes);
  Mapping(Mapping&& other) noexcept { swap(other); }
  Mapping& operator=(Mapping&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Mapping();
  std::byte* address() const { return static_cast<std::byte*>(address_); }
  std::size_t bytes() const { return bytes_; }

 private:
  void swap(Mapping& other) {
    std::swap(address_, other.address_);
    std::swap(bytes_, other.bytes_);
    std::swap(made_by_, other.made_by_);
  }
  void* address_ = nullptr;
  std::size_t bytes_ = 0;
  pid_t made_by_ = 0;
};

// The two descriptors of a segment, for another process. That of the rows can only read.
struct Descriptors {
  Fd rows, page;
};

class Segment {
 public:
  // A new one, owned by this process. kNoSpace when the machine has no memory for all of it now: it is taken
  // at once.
  static Result<std::shared_ptr<Segment>> create(const std::string& name, Shape shape, std::string descriptor,
                                                 std::uint64_t start);

  // Somebody else's. Everything is checked before anything is mapped: that it is memory, sealed and whole,
  // and that the header says what is expected of it. kUnsafe, kMismatch.
  static Result<std::shared_ptr<Segment>> open(Descriptors descriptors, const Identity& expected);

  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  ~Segment();

  const Identity& identity() const { return identity_; }
  const Header& header() const { return *reinterpret_cast<const Header*>(rows_map_.address()); }
  const std::byte* rows() const { return rows_map_.address() + kHeaderBytes; }
  ReaderPage& page() const { return *reinterpret_cast<ReaderPage*>(page_map_.address()); }
  int rows_fd() const { return rows_fd_.get(); }
  int page_fd() const { return page_fd_.get(); }

  bool is_ours() const { return ours_; }
  // REQUIRES: is_ours().
  Header& own_header() const { return *reinterpret_cast<Header*>(rows_map_.address()); }
  std::byte* own_rows() const { return rows_map_.address() + kHeaderBytes; }
  RowWriter* writer() { return writer_.get(); }  // of arrays and rings

  RowReader reader() const;

  // By a lock that ends with the owner's last descriptor; also across PID namespaces.
  bool owner_lives() const;

  // The one reader's place, of a byte ring: false when somebody has it.
  bool claim_reading();
  void release_reading();
  // For the owner: false once a reader that had the place is gone.
  bool reader_lives() const;

  // Says that nothing more will come, and wakes who waits. For the owner; more than once does nothing.
  void end();

  Result<Descriptors> share() const;

 private:
  Segment() = default;

  Identity identity_;
  Fd rows_fd_, page_fd_;
  Mapping rows_map_, page_map_;
  bool ours_ = false;
  std::atomic<bool> reading_{false};
  pid_t made_by_ = 0;
  std::unique_ptr<RowWriter> writer_;
};

// kNoSpace when so many bytes more are beyond what this machine, or our control group, has left now.
Result<Done> check_room(std::uint64_t bytes);

// A description of its own of the file behind `fd`, opened anew: what it can do, and its locks, are not
// shared. kUnsafe when it is no plain file: opening anything else might have effects.
Result<Fd> reopen(const std::string& path, bool to_write);

}  // namespace banyan::shm
