// shm/byte_ring.h -- bytes from one process to one other, in order, through a ring: for messages of any size.
//
// Nothing is overwritten: a writer that is ahead by the whole ring waits, a reader without bytes waits, until
// the deadline or a request to stop. close() on the writer's side is the end of the stream, which the reader
// sees once it has read everything; a writer that dies is an error. A handle is used by one thread at a time,
// and stays put.
//
// Bytes may be read in other pieces than they were written in; write_message() and read_message() keep them
// apart, by a length of four bytes in front of each.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "shm/store.h"

namespace banyan::shm {

constexpr std::uint64_t kMessageMax = 16 << 20;  // that a reader takes unless it says otherwise

class ByteRingWriter {
 public:
  static Result<std::unique_ptr<ByteRingWriter>> create(Store& store, const std::string& name,
                                                        std::uint64_t bytes);

  Token token() const { return token_of(*segment_); }
  const std::shared_ptr<Segment>& segment() const { return segment_; }
  Result<Descriptors> share() const { return segment_->share(); }

  // As much as there is room for now; perhaps nothing. kGone once the reader has closed or died.
  Result<std::size_t> try_write(std::span<const std::byte> bytes);
  // All of it. What was written before a kTimeout or kCancelled stays written: `written` says how much.
  Result<Done> write(std::span<const std::byte> bytes, Deadline deadline = kForever,
                     const std::stop_token& stop = {});
  Result<Done> write_message(std::span<const std::byte> message, Deadline deadline = kForever,
                             const std::stop_token& stop = {});
  std::uint64_t written() const { return written_; }
  void close();

 private:
  explicit ByteRingWriter(std::shared_ptr<Segment> segment);
  Result<std::uint64_t> room() const;
  Result<Done> wait_for_room(std::uint64_t bytes, Deadline deadline, const std::stop_token& stop);

  std::shared_ptr<Segment> segment_;
  Bell bell_;
  std::uint64_t written_ = 0;
};

class ByteRingReader {
 public:
  // kBusy when it has a reader. One that died is followed by the next, where it stopped.
  static Result<std::unique_ptr<ByteRingReader>> attach(Store& store, const Token& token);
  static Result<std::unique_ptr<ByteRingReader>> attach(Store& store, const Token& token,
                                                        Descriptors descriptors);
  static Result<std::unique_ptr<ByteRingReader>> attach(Store& store, std::string_view name);
  ByteRingReader(const ByteRingReader&) = delete;
  ByteRingReader& operator=(const ByteRingReader&) = delete;
  ~ByteRingReader();  // the writer hears that nobody reads any more

  const std::shared_ptr<Segment>& segment() const { return segment_; }

  // At least one byte and at most what `out` holds; 0: the end. kOwnerDied when the writer died and all it
  // wrote has been read.
  Result<std::size_t> read_some(std::span<std::byte> out, Deadline deadline = kForever,
                                const std::stop_token& stop = {});
  // All of `out`. kEnded when there are fewer bytes until the end.
  Result<Done> read_exactly(std::span<std::byte> out, Deadline deadline = kForever,
                            const std::stop_token& stop = {});
  // Nothing: the end. kTooLong for one of more than `most` bytes, which is not read then. An error in the
  // middle of a message leaves its rest to be read.
  Result<std::optional<std::vector<std::byte>>> read_message(std::uint64_t most = kMessageMax,
                                                             Deadline deadline = kForever,
                                                             const std::stop_token& stop = {});

 private:
  explicit ByteRingReader(std::shared_ptr<Segment> segment);
  static Result<std::unique_ptr<ByteRingReader>> make(Result<std::shared_ptr<Segment>> segment);
  Result<std::uint64_t> available() const;
  void copy(std::span<std::byte> out) const;
  void take(std::uint64_t bytes);
  Result<Done> wait_for(std::uint64_t bytes, Deadline deadline, const std::stop_token& stop) const;

  std::shared_ptr<Segment> segment_;
  RowReader reader_;  // for its waiting
  std::uint64_t taken_ = 0;
};

}  // namespace banyan::shm
