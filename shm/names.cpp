#include "shm/names.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <thread>
#include <vector>

#include "shm/futex.h"
#include "shm/process.h"

namespace banyan::shm {
namespace {

constexpr const char* kNewFile = ".new";          // until it has its name; whoever has the lock has it alone
constexpr std::chrono::seconds kLockPatience{5};  // it is held for as long as a small file is written
constexpr int kNamesMax = 65536;                  // looked at in one sweep

template <class Call>
auto retry(Call call) {
  for (;;) {
    auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

ErrorKind kind_of(int error) {
  return error == ENOSPC || error == EDQUOT ? ErrorKind::kNoSpace : ErrorKind::kSystem;
}

Result<std::string> read_file(const Fd& folder, const std::string& name) {
  const Fd file(retry(
      [&] { return ::openat(folder.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC); }));
  if (!file) return system_error(name, errno, errno == ENOENT ? ErrorKind::kNotFound : ErrorKind::kSystem);
  char bytes[kTokenBytesMax + 1];
  const ssize_t count = retry([&] { return ::read(file.get(), bytes, sizeof bytes); });
  if (count < 0) return system_error(name, errno);
  return std::string(bytes, std::size_t(count));
}

// The token a file holds, which must be that of its name.
Result<Token> read_token(const Fd& folder, const std::string& name) {
  Result<std::string> text = read_file(folder, name);
  if (!text) return text.error();
  Result<Token> token = Token::from_text(*text);
  if (token && token->identity.name != name) return Error{ErrorKind::kBadToken, "a token of another name"};
  return token;
}

// Empty, cut short or of nobody: no owner of ours has written that.
bool is_stale(const Result<Token>& token) {
  return token ? !may_live(token->identity.owner) : token.error().kind == ErrorKind::kBadToken;
}

std::size_t sweep_locked(const Fd& folder) {
  const int copy = ::fcntl(folder.get(), F_DUPFD_CLOEXEC, 0);
  DIR* entries = copy < 0 ? nullptr : ::fdopendir(copy);
  if (entries == nullptr) {
    if (copy >= 0) ::close(copy);
    return 0;
  }
  ::rewinddir(entries);  // the copy shares its position
  std::vector<std::string> names;
  for (const dirent* entry; names.size() < kNamesMax && (entry = ::readdir(entries)) != nullptr;)
    if (is_name(entry->d_name)) names.emplace_back(entry->d_name);
  ::closedir(entries);
  std::size_t removed = ::unlinkat(folder.get(), kNewFile, 0) == 0 ? 1 : 0;
  for (const std::string& name : names)
    if (is_stale(read_token(folder, name)) && ::unlinkat(folder.get(), name.c_str(), 0) == 0) ++removed;
  return removed;
}

}  // namespace

std::string default_folder() {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  if (runtime != nullptr && *runtime == '/') return std::string(runtime) + "/banyan-shm";
  return "/dev/shm/banyan-" + std::to_string(::geteuid());
}

Result<Fd> Names::open_folder(bool create) const {
  if (create && ::mkdir(folder_.c_str(), 0700) != 0 && errno != EEXIST)
    return system_error("mkdir " + folder_, errno, kind_of(errno));
  Fd folder(retry([&] { return ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); }));
  if (!folder)
    return system_error(folder_, errno, errno == ENOENT ? ErrorKind::kNotFound : ErrorKind::kUnsafe);
  struct stat status {};
  if (::fstat(folder.get(), &status) != 0) return system_error("fstat", errno);
  if (status.st_uid != ::geteuid() || (status.st_mode & 077) != 0)
    return Error{ErrorKind::kUnsafe, folder_ + " does not belong to us alone"};
  return folder;
}

Result<Fd> Names::lock_folder(bool create) const {
  const Deadline deadline = Clock::now() + kLockPatience;
  for (;;) {
    Result<Fd> folder = open_folder(create);
    if (!folder && !(create && folder.error().kind == ErrorKind::kNotFound)) return folder;
    if (folder) {
      if (::flock(folder->get(), LOCK_EX | LOCK_NB) == 0) {
        struct stat status {};
        if (::fstat(folder->get(), &status) == 0 && status.st_nlink > 0) return folder;
        // Somebody removed it, with its last name, before we had the lock.
        if (!create) return Error{ErrorKind::kNotFound, "there are no names"};
      } else if (errno != EWOULDBLOCK && errno != EINTR) {
        return system_error("flock " + folder_, errno);
      }
    }
    if (Clock::now() > deadline) return Error{ErrorKind::kBusy, folder_ + " has been locked for seconds"};
    std::this_thread::yield();
  }
}

void Names::remove_if_empty(const Fd& folder) const {
  struct stat ours {
  }, there{};
  if (::fstat(folder.get(), &ours) == 0 && ::lstat(folder_.c_str(), &there) == 0 &&
      ours.st_ino == there.st_ino && ours.st_dev == there.st_dev)
    ::rmdir(folder_.c_str());  // refuses one that is not empty
}

Result<Done> Names::publish(const Token& token) const {
  const std::string& name = token.identity.name;
  if (!is_name(name)) return Error{ErrorKind::kBadName, "a name that could lead elsewhere"};
  Result<Fd> folder = lock_folder(true);
  if (!folder) return folder.error();
  sweep_locked(*folder);
  struct stat status {};
  if (::fstatat(folder->get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0)
    return Error{ErrorKind::kExists, name + " has been made by a process that lives"};

  const std::string text = token.to_text();
  const auto fail = [&](int error) {
    ::unlinkat(folder->get(), kNewFile, 0);
    remove_if_empty(*folder);
    return system_error("writing the name " + name + " in " + folder_, error, kind_of(error));
  };
  const Fd file(retry(
      [&] { return ::openat(folder->get(), kNewFile, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600); }));
  if (!file) return fail(errno);
  const ssize_t count = retry([&] { return ::write(file.get(), text.data(), text.size()); });
  if (count != ssize_t(text.size())) return fail(count < 0 ? errno : ENOSPC);
  if (::renameat(folder->get(), kNewFile, folder->get(), name.c_str()) != 0) return fail(errno);
  return Done{};
}

Result<Token> Names::find(std::string_view name) const {
  if (!is_name(name)) return Error{ErrorKind::kBadName, "a name that could lead elsewhere"};
  Result<Fd> folder = open_folder(false);
  if (!folder) return folder.error();
  Result<Token> token = read_token(*folder, std::string(name));
  if (token && is_stale(token))
    return Error{ErrorKind::kGone, "the owner of " + std::string(name) + " has ended"};
  return token;
}

void Names::withdraw(const Token& token) const {
  Result<Fd> folder = lock_folder(false);
  if (!folder) return;
  Result<Token> found = read_token(*folder, token.identity.name);
  if (found && *found == token) ::unlinkat(folder->get(), token.identity.name.c_str(), 0);
  remove_if_empty(*folder);
}

Result<std::size_t> Names::sweep() const {
  Result<Fd> folder = lock_folder(false);
  if (!folder) {
    if (folder.error().kind == ErrorKind::kNotFound) return std::size_t(0);
    return folder.error();
  }
  const std::size_t removed = sweep_locked(*folder);
  remove_if_empty(*folder);
  return removed;
}

}  // namespace banyan::shm
