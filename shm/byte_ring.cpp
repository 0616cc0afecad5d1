#include "shm/byte_ring.h"

#include <algorithm>
#include <cstring>

namespace banyan::shm {
namespace {

constexpr const char* kDescriptor = "|u1";
constexpr std::uint32_t kReads = 1, kReadsNoMore = 2;
constexpr std::uint64_t kRingBytesMin = 64;  // a length has to fit, and less is of no use
constexpr std::size_t kLengthBytes = 4;      // before a message, little-endian

Result<Done> check_kind(const Token& token) {
  if (token.identity.shape.kind == Kind::kByteRing) return Done{};
  return Error{ErrorKind::kMismatch, token.identity.name + " is a " +
                                         std::string(name_of(token.identity.shape.kind)) + ", no byte ring"};
}

}  // namespace

// --- the writer ---

ByteRingWriter::ByteRingWriter(std::shared_ptr<Segment> segment)
    : segment_(std::move(segment)),
      bell_(segment_->own_header(), segment_->page(), segment_->identity().shape.writer_fences) {}

Result<std::unique_ptr<ByteRingWriter>> ByteRingWriter::create(Store& store, const std::string& name,
                                                               std::uint64_t bytes) {
  if (bytes < kRingBytesMin) return Error{ErrorKind::kMismatch, "a ring of less than 64 bytes"};
  const Shape shape{Kind::kByteRing, 1, bytes, Rewrites::kNever, false, false};
  Result<std::shared_ptr<Segment>> segment = store.create(name, shape, kDescriptor);
  if (!segment) return segment.error();
  return std::unique_ptr<ByteRingWriter>(new ByteRingWriter(std::move(*segment)));
}

// The reader's counter is believed only as far as it makes sense.
Result<std::uint64_t> ByteRingWriter::room() const {
  const ReaderPage& page = segment_->page();
  const std::uint64_t capacity = segment_->identity().shape.capacity;
  const std::uint32_t state = page.reader_state.load(std::memory_order_acquire);
  const std::uint64_t taken = page.taken.load(std::memory_order_acquire);
  if (taken > written_ || written_ - taken > capacity)
    return Error{ErrorKind::kCorrupt, "the reader says that it has read what was never written"};
  if (state == kReadsNoMore) return Error{ErrorKind::kGone, "the reader has closed"};
  return capacity - (written_ - taken);
}

Result<std::size_t> ByteRingWriter::try_write(std::span<const std::byte> bytes) {
  if (segment_->header().ended.load(std::memory_order_relaxed) != 0)
    return Error{ErrorKind::kEnded, "a write after the end"};
  Result<std::uint64_t> free = room();
  if (!free) return free.error();
  const std::uint64_t capacity = segment_->identity().shape.capacity;
  const std::size_t count = std::size_t(std::min<std::uint64_t>(bytes.size(), *free));
  if (count == 0) return count;
  const std::uint64_t at = written_ % capacity;
  const std::size_t until_end = std::size_t(std::min<std::uint64_t>(count, capacity - at));
  std::memcpy(segment_->own_rows() + at, bytes.data(), until_end);
  std::memcpy(segment_->own_rows(), bytes.data() + until_end, count - until_end);
  written_ += count;
  segment_->own_header().last.store(written_, std::memory_order_release);
  bell_.ring();
  return count;
}

// Until there is room for so many bytes, at most the whole ring.
Result<Done> ByteRingWriter::wait_for_room(std::uint64_t bytes, Deadline deadline,
                                           const std::stop_token& token) {
  const Stop stop(token);
  Header& header = segment_->own_header();
  const std::atomic<std::uint32_t>& wake = segment_->page().wake;
  Deadline look = Clock::now() + kLookAgain;
  for (;;) {
    Result<std::uint64_t> free = room();
    if (!free) return free.error();
    if (*free >= bytes) return Done{};
    if (stop.requested()) return Error{ErrorKind::kCancelled, "the write was cancelled"};
    if (Clock::now() >= deadline) return Error{ErrorKind::kTimeout, "the reader made no room in time"};

    header.writer_waits.store(1, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const std::uint32_t seen = wake.load(std::memory_order_acquire);
    free = room();
    if (free && *free < bytes) sleep_on(wake, seen, deadline, stop);
    header.writer_waits.store(0, std::memory_order_relaxed);
    if (Clock::now() < look) continue;
    look = Clock::now() + kLookAgain;
    if (segment_->page().reader_state.load(std::memory_order_acquire) == kReads && !segment_->reader_lives())
      return Error{ErrorKind::kGone, "the reader died"};
  }
}

Result<Done> ByteRingWriter::write(std::span<const std::byte> bytes, Deadline deadline,
                                   const std::stop_token& stop) {
  for (;;) {
    Result<std::size_t> written = try_write(bytes);
    if (!written) return written.error();
    bytes = bytes.subspan(*written);
    if (bytes.empty()) return Done{};
    if (Result<Done> waited = wait_for_room(1, deadline, stop); !waited) return waited;
  }
}

Result<Done> ByteRingWriter::write_message(std::span<const std::byte> message, Deadline deadline,
                                           const std::stop_token& stop) {
  if (message.size() > std::uint32_t(-1))
    return Error{ErrorKind::kTooLong, "a message whose length has no room"};
  std::byte length[kLengthBytes];
  for (std::size_t i = 0; i < kLengthBytes; ++i) length[i] = std::byte(message.size() >> (8 * i));
  // Whole where it fits, so that a cancelled write leaves no message that is begun and never ends.
  const std::uint64_t size = message.size() + kLengthBytes;
  if (size <= segment_->identity().shape.capacity)
    if (Result<Done> waited = wait_for_room(size, deadline, stop); !waited) return waited;
  if (Result<Done> written = write(length, deadline, stop); !written) return written;
  return write(message, deadline, stop);
}

void ByteRingWriter::close() {
  segment_->end();
}

// --- the reader ---

ByteRingReader::ByteRingReader(std::shared_ptr<Segment> segment)
    : segment_(std::move(segment)), reader_(segment_->reader()), taken_(segment_->page().taken.load()) {
  segment_->page().reader_state.store(kReads, std::memory_order_release);
}

Result<std::unique_ptr<ByteRingReader>> ByteRingReader::make(Result<std::shared_ptr<Segment>> segment) {
  if (!segment) return segment.error();
  if (!(*segment)->claim_reading()) return Error{ErrorKind::kBusy, "somebody reads that ring already"};
  return std::unique_ptr<ByteRingReader>(new ByteRingReader(std::move(*segment)));
}

Result<std::unique_ptr<ByteRingReader>> ByteRingReader::attach(Store& store, const Token& token) {
  if (Result<Done> right = check_kind(token); !right) return right.error();
  return make(store.attach(token));
}

Result<std::unique_ptr<ByteRingReader>> ByteRingReader::attach(Store& store, const Token& token,
                                                               Descriptors descriptors) {
  if (Result<Done> right = check_kind(token); !right) return right.error();
  return make(store.attach(token, std::move(descriptors)));
}

Result<std::unique_ptr<ByteRingReader>> ByteRingReader::attach(Store& store, std::string_view name) {
  Result<Token> token = store.find(name);
  if (!token) return token.error();
  return attach(store, *token);
}

ByteRingReader::~ByteRingReader() {
  segment_->page().reader_state.store(kReadsNoMore, std::memory_order_seq_cst);
  take(0);
  segment_->release_reading();
}

Result<std::uint64_t> ByteRingReader::available() const {
  const std::uint64_t written = reader_.last();
  if (written < taken_ || written - taken_ > segment_->identity().shape.capacity)
    return Error{ErrorKind::kCorrupt, "the writer wrote a counter that cannot be"};
  return written - taken_;
}

// REQUIRES: as much is available.
void ByteRingReader::copy(std::span<std::byte> out) const {
  const std::uint64_t capacity = segment_->identity().shape.capacity;
  const std::uint64_t at = taken_ % capacity;
  const std::size_t until_end = std::size_t(std::min<std::uint64_t>(out.size(), capacity - at));
  std::memcpy(out.data(), segment_->rows() + at, until_end);
  std::memcpy(out.data() + until_end, segment_->rows(), out.size() - until_end);
}

void ByteRingReader::take(std::uint64_t bytes) {
  ReaderPage& page = segment_->page();
  taken_ += bytes;
  page.taken.store(taken_, std::memory_order_release);
  page.wake.fetch_add(1, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (segment_->header().writer_waits.load(std::memory_order_relaxed) != 0) wake_all(page.wake);
}

// Until there are so many bytes. kEnded: fewer are left, and no more will come.
Result<Done> ByteRingReader::wait_for(std::uint64_t bytes, Deadline deadline,
                                      const std::stop_token& stop) const {
  for (;;) {
    const std::uint32_t seen = reader_.changes();
    const bool ended = reader_.has_ended();
    Result<std::uint64_t> there = available();
    if (!there) return there.error();
    if (*there >= bytes) return Done{};
    if (ended) return Error{ErrorKind::kEnded, "the stream has ended"};
    Result<Done> changed = reader_.wait_change(seen, deadline, stop);
    if (changed || changed.error().kind == ErrorKind::kEnded) continue;
    there = available();  // what a writer did before it died
    if (there && *there >= bytes) return Done{};
    return changed;
  }
}

Result<std::size_t> ByteRingReader::read_some(std::span<std::byte> out, Deadline deadline,
                                              const std::stop_token& stop) {
  if (out.empty()) return std::size_t(0);
  if (Result<Done> waited = wait_for(1, deadline, stop); !waited) {
    if (waited.error().kind == ErrorKind::kEnded) return std::size_t(0);
    return waited.error();
  }
  Result<std::uint64_t> there = available();
  if (!there) return there.error();
  const std::size_t count = std::size_t(std::min<std::uint64_t>(*there, out.size()));
  copy(out.first(count));
  take(count);
  return count;
}

Result<Done> ByteRingReader::read_exactly(std::span<std::byte> out, Deadline deadline,
                                          const std::stop_token& stop) {
  while (!out.empty()) {
    Result<std::size_t> count = read_some(out, deadline, stop);
    if (!count) return count.error();
    if (*count == 0) return Error{ErrorKind::kEnded, "the stream has ended in the middle"};
    out = out.subspan(*count);
  }
  return Done{};
}

Result<std::optional<std::vector<std::byte>>> ByteRingReader::read_message(std::uint64_t most,
                                                                           Deadline deadline,
                                                                           const std::stop_token& stop) {
  using Message = std::optional<std::vector<std::byte>>;
  if (Result<Done> waited = wait_for(kLengthBytes, deadline, stop); !waited) {
    Result<std::uint64_t> there = available();
    if (waited.error().kind != ErrorKind::kEnded || !there) return waited.error();
    if (*there == 0) return Message();
    return Error{ErrorKind::kEnded, "the stream has ended in the middle of a message"};
  }
  std::byte length[kLengthBytes];
  copy(length);
  std::uint64_t size = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) size |= std::uint64_t(length[i]) << (8 * i);
  if (size > most) return Error{ErrorKind::kTooLong, "a message of " + std::to_string(size) + " bytes"};
  // What fits in the ring is taken whole or not at all, so a wait that was cancelled can be begun again.
  if (size + kLengthBytes <= segment_->identity().shape.capacity)
    if (Result<Done> waited = wait_for(size + kLengthBytes, deadline, stop); !waited) return waited.error();
  take(kLengthBytes);
  std::vector<std::byte> message(size);
  if (Result<Done> read = read_exactly(message, deadline, stop); !read) return read.error();
  return Message(std::move(message));
}

}  // namespace banyan::shm
