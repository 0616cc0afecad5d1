#include "transports/connector/known_hosts_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/fd.h"
#include "core/text.h"
#include "transports/connector/file.h"
#include "transports/connector/public_key.h"

namespace banyan::connector {
namespace {

constexpr int kReplacedMax = 8;  // times in a row that the file was replaced just when we had its lock

Error failed(std::string_view what, const std::string& path, int error_number) {
  return system_error(ErrorClass::kHostKey, Phase::kKex, cat(what, " ", path), error_number);
}

// Whatever in a line of known_hosts would mean more than itself.
bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= 1'000 && name[0] != '@' && std::ranges::all_of(name, [](char c) {
    return c > ' ' && c != 0x7f && std::string_view("*?!,|#").find(c) == std::string_view::npos;
  });
}

// O_NONBLOCK: a pipe planted there must not hold us up.
Fd open_to_append(const std::string& path) {
  return Fd(retry([&] {
    return ::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
  }));
}

bool is_still(const struct stat& opened, const std::string& path) {
  struct stat now;
  return ::stat(path.c_str(), &now) == 0 && now.st_dev == opened.st_dev && now.st_ino == opened.st_ino;
}

// One write: a reader without the lock sees all of the line or nothing.
Result<Kept> append_line(int fd, const std::string& path, std::string_view text, const std::string& line) {
  const std::string all = text.empty() || text.ends_with('\n') ? line : cat("\n", line);
  const ssize_t written = retry([&] { return ::write(fd, all.data(), all.size()); });
  if (written == ssize_t(all.size())) return Kept::kWritten;
  const int error_number = written < 0 ? errno : ENOSPC;
  struct stat info;
  // Half a line goes, unless another program wrote behind it.
  if (written > 0 && ::fstat(fd, &info) == 0 &&
      std::size_t(info.st_size) == text.size() + std::size_t(written) &&
      ::ftruncate(fd, off_t(text.size())) != 0)
    return failed("shorten", path, errno);
  return failed("write", path, error_number);
}

}  // namespace

Error is_locked(const std::string& path) {
  return {ErrorClass::kHostKey, Phase::kKex, cat("another program keeps ", path, " locked"),
          "see who does, with lslocks"};
}

Result<Done> read_known_hosts(const std::string& path, KnownHosts& to) {
  const Fd file(retry([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); }));
  if (!file && (errno == ENOENT || errno == ENOTDIR)) return Done{};
  if (!file) return failed("open", path, errno);
  struct stat info;
  if (::fstat(file.get(), &info) == 0 && S_ISCHR(info.st_mode)) return Done{};
  Result<Buffer> text = read_whole(file.get(), path, kKnownHostsBytesMax, ErrorClass::kHostKey, Phase::kKex);
  if (!text) return text.error();
  return to.add(as_text(*text), path);
}

Result<Kept> append_host_key(const std::string& path, std::string_view name, std::uint16_t port,
                             bool hash_names, Bytes key) {
  if (!is_plain_name(name))
    return Error(ErrorClass::kHostKey, Phase::kKex, "the host's name cannot stand in a known_hosts file");
  if (public_key_type(key).empty())
    return Error(ErrorClass::kHostKey, Phase::kKex, "the host's key is of no known type, or damaged");

  for (int tries = 0; tries < kReplacedMax; ++tries) {
    Fd file = open_to_append(path);
    if (!file && errno == ENOENT) {
      const std::string folder = path.substr(0, path.find_last_of('/'));
      if (folder.empty() || folder == path || (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST))
        return failed("make", folder, errno);
      file = open_to_append(path);
    }
    if (!file) return failed("open", path, errno);
    struct stat info;
    if (::fstat(file.get(), &info) != 0) return failed("stat", path, errno);
    if (S_ISCHR(info.st_mode)) return Kept::kNowhere;
    if (retry([&] { return ::flock(file.get(), LOCK_EX | LOCK_NB); }) != 0) {
      if (errno == EWOULDBLOCK) return Kept::kLocked;
      return failed("lock", path, errno);
    }
    if (!is_still(info, path)) continue;  // ours is the old one; what was written to it would be lost

    Result<Buffer> bytes =
        read_whole(file.get(), path, kKnownHostsBytesMax, ErrorClass::kHostKey, Phase::kKex);
    if (!bytes) return bytes.error();
    const std::string_view text = as_text(*bytes);
    KnownHosts now;
    if (Result<Done> added = now.add(text, path); !added) return added.error();
    const KnownHosts::Verdict verdict = now.check(name, port, key);
    if (verdict.answer == KnownHosts::Answer::kKnown) return Kept::kWasThere;
    if (verdict.answer != KnownHosts::Answer::kUnknown) {
      const KnownHosts::Line& line = verdict.lines[0];
      const bool revoked = verdict.answer == KnownHosts::Answer::kRevoked;
      return Error(ErrorClass::kHostKey, Phase::kKex,
                   cat(revoked ? "this key is revoked by " : "another key is known for the host by now, in ",
                       path, ", line ", line.number, ": ", line.type, " ", fingerprint(line.key), ", not ",
                       fingerprint(key)));
    }
    std::string names = known_hosts_name(name, port);
    if (hash_names) {
      char salt[20];
      if (::getrandom(salt, sizeof salt, 0) != sizeof salt)
        return system_error(ErrorClass::kResource, Phase::kKex, "random bytes", errno);
      names = hashed_name(names, {salt, sizeof salt});
    }
    return append_line(file.get(), path, text, cat(names, " ", public_key_text(key), "\n"));
  }
  return Error(ErrorClass::kHostKey, Phase::kKex, cat(path, " is being replaced again and again"));
}

}  // namespace banyan::connector
