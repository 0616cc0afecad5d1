#include "transports/cache_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "core/fd.h"
#include "core/text.h"

namespace banyan {
namespace {

// Every folder of the path that is missing; the last one private.
bool make_folder(const std::string& folder) {
  for (std::size_t at = folder.find('/', 1); at != std::string::npos; at = folder.find('/', at + 1)) {
    if (mkdir(folder.substr(0, at).c_str(), 0755) != 0 && errno != EEXIST) return false;
  }
  return mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST;
}

}  // namespace

std::string read_cache_file(const std::string& path, std::size_t max) {
  Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a pipe planted there must not hold us up
  std::string text;
  struct stat info;
  if (!file || fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) return text;
  if (info.st_uid != geteuid() || (info.st_mode & 022) != 0) return text;
  if (info.st_size <= 0 || std::size_t(info.st_size) > max) return text;
  text.resize(std::size_t(info.st_size));
  std::size_t have = 0;
  while (have < text.size()) {
    ssize_t got = retry([&] { return ::read(file.get(), text.data() + have, text.size() - have); });
    if (got <= 0) break;
    have += std::size_t(got);
  }
  text.resize(have);
  return text;
}

bool replace_cache_file(const std::string& folder, const std::string& name,
                        const std::function<std::string()>& make_text) {
  if (folder.empty() || !make_folder(folder)) return false;
  const std::string path = cat(folder, "/", name);
  Fd lock(open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  // Held only while a small file is written; somebody stopped in between must not stop us.
  if (!lock || retry([&] { return flock(lock.get(), LOCK_EX | LOCK_NB); }) != 0) return false;
  const std::string text = make_text();
  const std::string temporary = path + ".new";
  unlink(temporary.c_str());  // left by one that was killed: we hold the lock
  Fd file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) return false;
  const bool written = write_all(file.get(), text.data(), text.size());
  file.reset();
  if (written && rename(temporary.c_str(), path.c_str()) == 0) return true;
  unlink(temporary.c_str());
  return false;
}

}  // namespace banyan
