#include "shm/segment.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "shm/process.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace banyan::shm {
namespace {

constexpr unsigned kNoExecution = 0x0008;  // MFD_NOEXEC_SEAL, since Linux 6.3
constexpr int kPageSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
constexpr int kRowsSeals = kPageSeals | F_SEAL_FUTURE_WRITE;

Result<Fd> make_memory(const std::string& name, std::uint64_t bytes) {
  const std::string label = "banyan-shm-" + name;
  const auto make = [&](unsigned flags) { return int(::syscall(SYS_memfd_create, label.c_str(), flags)); };
  int number = make(MFD_CLOEXEC | MFD_ALLOW_SEALING | kNoExecution);
  if (number < 0 && errno == EINVAL) number = make(MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (number < 0) return system_error("memfd_create", errno);
  Fd fd(number);
  int error = 0;
  do {
    error = ::posix_fallocate(fd.get(), 0, off_t(bytes));
  } while (error == EINTR);
  if (error != 0)
    return system_error("taking " + std::to_string(bytes) + " bytes of memory", error, ErrorKind::kNoSpace);
  return fd;
}

Result<Mapping> map(int fd, std::uint64_t bytes, int protection, int flags = 0) {
  void* address = ::mmap(nullptr, bytes, protection, MAP_SHARED | flags, fd, 0);
  if (address == MAP_FAILED)
    return system_error("mmap", errno, errno == EPERM ? ErrorKind::kUnsafe : ErrorKind::kSystem);
  return Mapping(address, bytes);
}

std::uint64_t random_number() {
  std::uint64_t number = 0;
  while (number == 0)
    if (::getrandom(&number, sizeof number, 0) != ssize_t(sizeof number)) number = 0;
  return number;
}

// Memory that cannot be taken away: truncated, or given holes, it would kill whoever looks there.
Result<Done> check_memory(int fd, std::uint64_t bytes, int seals, const char* what) {
  const auto unsafe = [&](const char* why) { return Error{ErrorKind::kUnsafe, std::string(what) + why}; };
  struct stat status {};
  if (::fstat(fd, &status) != 0) return system_error("fstat", errno);
  struct statfs system {};
  if (::fstatfs(fd, &system) != 0) return system_error("fstatfs", errno);
  if (!S_ISREG(status.st_mode) || std::uint64_t(system.f_type) != TMPFS_MAGIC) return unsafe(" is no memory");
  const int found = ::fcntl(fd, F_GET_SEALS);
  if (found < 0 || (found & seals) != seals)
    return unsafe(" is not sealed: its owner could take it away beneath us");
  if (std::uint64_t(status.st_size) != bytes)
    return Error{ErrorKind::kMismatch, std::string(what) + " of another size than was said"};
  if (std::uint64_t(status.st_blocks) * 512 < bytes)
    return unsafe(" has holes, which may not get memory later");
  return Done{};
}

template <class T>
Result<Done> read_start(int fd, T& out) {
  ssize_t count = 0;
  do {
    count = ::pread(fd, &out, sizeof out, 0);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return system_error("pread", errno);
  if (count != ssize_t(sizeof out)) return Error{ErrorKind::kMismatch, "a segment that is too short"};
  return Done{};
}

struct flock whole_lock(short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = 0;
  lock.l_len = 1;
  return lock;
}

}  // namespace

Fd::~Fd() {
  if (number_ >= 0) ::close(number_);
}

Mapping::Mapping(void* address, std::size_t bytes) : address_(address), bytes_(bytes), made_by_(::getpid()) {}

Mapping::~Mapping() {
  if (address_ != nullptr && made_by_ == ::getpid()) ::munmap(address_, bytes_);
}

Result<Fd> reopen(const std::string& path, bool to_write) {
  const Fd place(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!place) return system_error(path, errno, errno == ENOENT ? ErrorKind::kGone : ErrorKind::kSystem);
  struct stat status {};
  if (::fstat(place.get(), &status) != 0) return system_error("fstat", errno);
  if (!S_ISREG(status.st_mode)) return Error{ErrorKind::kUnsafe, path + " is no memory"};
  const std::string again = "/proc/self/fd/" + std::to_string(place.get());
  Fd fd(::open(again.c_str(), (to_write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return system_error(path, errno);
  return fd;
}

Result<std::shared_ptr<Segment>> Segment::create(const std::string& name, Shape shape, std::string descriptor,
                                                 std::uint64_t start) {
  if (!is_name(name))
    return Error{ErrorKind::kBadName,
                 "a name is at most 48 letters, digits, '.', '_' or '-', and begins with a letter or digit"};
  shape.writer_fences = !let_others_fence();
  if (Result<Done> sane = check(shape); !sane) return sane.error();
  if (descriptor.size() > sizeof Header::descriptor)
    return Error{ErrorKind::kTooLong, "a record whose description takes more than " +
                                          std::to_string(sizeof Header::descriptor) + " bytes"};
  if (shape.kind == Kind::kArray && start > shape.capacity)
    return Error{ErrorKind::kOutOfRange, "a start behind the last row"};
  const std::uint64_t bytes = shape.segment_bytes();
  if (Result<Done> room = check_room(bytes + kPageBytes); !room) return room.error();

  std::shared_ptr<Segment> segment(new Segment);
  segment->ours_ = true;
  segment->made_by_ = ::getpid();
  segment->identity_ = {name, shape, this_process(), random_number(), std::move(descriptor)};

  Result<Fd> rows = make_memory(name, bytes);
  if (!rows) return rows.error();
  // Pages that are there are mapped at once, so that no push meets a page fault.
  Result<Mapping> rows_map = map(rows->get(), bytes, PROT_READ | PROT_WRITE, MAP_POPULATE);
  if (!rows_map) return rows_map.error();
  Result<Fd> page = make_memory(name + "-readers", kPageBytes);
  if (!page) return page.error();
  Result<Mapping> page_map = map(page->get(), kPageBytes, PROT_READ | PROT_WRITE);
  if (!page_map) return page_map.error();
  segment->rows_fd_ = std::move(*rows);
  segment->rows_map_ = std::move(*rows_map);
  segment->page_fd_ = std::move(*page);
  segment->page_map_ = std::move(*page_map);

  // A fork would otherwise be a second writer.
  if (::madvise(segment->rows_map_.address(), bytes, MADV_DONTFORK) != 0 ||
      ::madvise(segment->page_map_.address(), kPageBytes, MADV_DONTFORK) != 0)
    return system_error("madvise", errno);
  if (::fcntl(segment->rows_fd(), F_ADD_SEALS, kRowsSeals) != 0 ||
      ::fcntl(segment->page_fd(), F_ADD_SEALS, kPageSeals) != 0)
    return system_error("sealing memory, which takes Linux 5.1", errno);
  struct flock lock = whole_lock(F_WRLCK);
  if (::fcntl(segment->rows_fd(), F_OFD_SETLK, &lock) != 0) return system_error("the owner's lock", errno);

  Header& header = segment->own_header();
  write_identity(header, segment->identity_);
  header.first.store(start, std::memory_order_relaxed);
  header.last.store(start, std::memory_order_relaxed);
  header.reserved.store(start, std::memory_order_relaxed);
  if (shape.has_index && shape.kind == Kind::kArray)
    for (std::uint64_t number = 0; number < shape.capacity; ++number)
      std::memcpy(segment->own_rows() + number * shape.row_bytes, &number, sizeof number);
  segment->page().generation = segment->identity_.generation;
  if (shape.kind == Kind::kArray || shape.kind == Kind::kRing)
    segment->writer_ =
        std::make_unique<RowWriter>(RowWriter::Memory{&header, &segment->page(), segment->own_rows(), shape});
  return segment;
}

Result<std::shared_ptr<Segment>> Segment::open(Descriptors descriptors, const Identity& expected) {
  const int rows = descriptors.rows.get(), page = descriptors.page.get();
  const std::uint64_t bytes = expected.shape.segment_bytes();
  if (Result<Done> safe = check_memory(rows, bytes, kRowsSeals, "the segment"); !safe) return safe.error();
  if (Result<Done> safe = check_memory(page, kPageBytes, kPageSeals, "the readers' page"); !safe)
    return safe.error();

  alignas(Header) std::byte start[kHeaderBytes];
  if (Result<Done> read = read_start(rows, start); !read) return read.error();
  Result<Identity> found = read_identity(*reinterpret_cast<const Header*>(start));
  if (!found) return found.error();
  if (*found != expected) return Error{ErrorKind::kMismatch, "another segment than the token says"};
  std::uint64_t generation = 0;
  if (Result<Done> read = read_start(page, generation); !read) return read.error();
  if (generation != expected.generation)
    return Error{ErrorKind::kMismatch, "a readers' page of another segment"};

  std::shared_ptr<Segment> segment(new Segment);
  segment->made_by_ = ::getpid();
  segment->identity_ = std::move(*found);
  Result<Mapping> rows_map = map(rows, bytes, PROT_READ);
  if (!rows_map) return rows_map.error();
  Result<Mapping> page_map = map(page, kPageBytes, PROT_READ | PROT_WRITE);
  if (!page_map) return page_map.error();
  segment->rows_map_ = std::move(*rows_map);
  segment->page_map_ = std::move(*page_map);
  segment->rows_fd_ = std::move(descriptors.rows);
  segment->page_fd_ = std::move(descriptors.page);
  return segment;
}

Segment::~Segment() {
  end();
}

void Segment::end() {
  // Not by the child of a fork.
  if (!ours_ || made_by_ != ::getpid() || rows_map_.address() == nullptr) return;
  Header& header = own_header();
  if (header.ended.load(std::memory_order_relaxed) != 0) return;
  if (writer_) return writer_->end();
  header.ended.store(1, std::memory_order_seq_cst);
  Bell(header, page(), identity_.shape.writer_fences).rouse();
}

bool Segment::claim_reading() {
  if (reading_.exchange(true)) return false;
  struct flock lock = whole_lock(F_WRLCK);
  if (::fcntl(page_fd(), F_OFD_SETLK, &lock) == 0) return true;
  reading_ = false;
  return false;
}

void Segment::release_reading() {
  struct flock lock = whole_lock(F_UNLCK);
  ::fcntl(page_fd(), F_OFD_SETLK, &lock);
  reading_ = false;
}

bool Segment::reader_lives() const {
  struct flock lock = whole_lock(F_WRLCK);
  return ::fcntl(page_fd(), F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

bool Segment::owner_lives() const {
  struct flock lock = whole_lock(F_RDLCK);
  return ::fcntl(rows_fd(), F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

RowReader Segment::reader() const {
  return RowReader({&header(), &page(), rows(), identity_.shape, [this] { return ours_ || owner_lives(); }});
}

Result<Descriptors> Segment::share() const {
  Result<Fd> rows = reopen("/proc/self/fd/" + std::to_string(rows_fd()), false);
  if (!rows) return rows.error();
  Result<Fd> page = reopen("/proc/self/fd/" + std::to_string(page_fd()), true);
  if (!page) return page.error();
  return Descriptors{std::move(*rows), std::move(*page)};
}

}  // namespace banyan::shm
