#include "transports/arch_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "core/fd.h"
#include "core/text.h"

namespace banyan {
namespace {

constexpr std::size_t kFileMax = 16 << 20;  // more than kArchCacheMax honest lines
constexpr std::size_t kHostMax = 1'024;
constexpr std::size_t kArchitectureMax = 32;

// As uname -m says it. What else the file may hold never reaches a command text.
bool is_architecture(std::string_view text) {
  auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  return !text.empty() && text.size() <= kArchitectureMax && std::ranges::all_of(text, good);
}

bool is_host(std::string_view text) {
  auto good = [](char c) { return static_cast<unsigned char>(c) > ' ' || c == ' '; };
  return !text.empty() && text.size() <= kHostMax && std::ranges::all_of(text, good);
}

// Every folder of the path that is missing; the last one private.
bool make_folder(const std::string& folder) {
  for (std::size_t at = folder.find('/', 1); at != std::string::npos; at = folder.find('/', at + 1)) {
    if (mkdir(folder.substr(0, at).c_str(), 0755) != 0 && errno != EEXIST) return false;
  }
  return mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST;
}

std::string read_file(const std::string& path) {
  Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a pipe planted there must not hold us up
  std::string text;
  struct stat info;
  if (!file || fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) return text;
  if (info.st_size <= 0 || std::size_t(info.st_size) > kFileMax) return text;
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

}  // namespace

std::string ArchCache::default_folder() {
  auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (std::string own = variable("BANYAN_CACHE"); !own.empty()) return own;
  if (std::string xdg = variable("XDG_CACHE_HOME"); xdg.starts_with('/')) return xdg + "/banyan";
  if (std::string home = variable("HOME"); home.starts_with('/')) return home + "/.cache/banyan";
  return "";
}

ArchCache::ArchCache(std::string folder) : folder_(std::move(folder)) {
  if (!folder_.empty()) known_ = read(path());
}

std::string ArchCache::path() const {
  return folder_ + "/architectures";
}

ArchCache::Entries ArchCache::read(const std::string& path) {
  Entries entries;
  const std::string text = read_file(path);
  std::string_view rest = text;
  while (!rest.empty() && entries.size() < kArchCacheMax) {
    std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) break;  // a line cut short may name half an architecture
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    std::size_t tab = line.find('\t');
    if (tab == std::string_view::npos) continue;
    std::string_view host = line.substr(0, tab), architecture = line.substr(tab + 1);
    if (is_host(host) && is_architecture(architecture))
      entries.insert_or_assign(std::string(host), std::string(architecture));
  }
  return entries;
}

std::string ArchCache::find(std::string_view host) const {
  auto it = known_.find(host);
  return it == known_.end() ? "" : it->second;
}

void ArchCache::learn(std::string_view host, std::string_view architecture) {
  if (!is_host(host) || !is_architecture(architecture) || find(host) == architecture) return;
  known_[std::string(host)] = architecture;
  changes_[std::string(host)] = architecture;
}

void ArchCache::forget(std::string_view host) {
  auto it = known_.find(host);
  if (it == known_.end()) return;
  known_.erase(it);
  changes_[std::string(host)] = "";
}

void ArchCache::save() {
  if (folder_.empty() || changes_.empty() || !make_folder(folder_)) return;
  Fd lock(open((path() + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  // Held only while a small file is written; somebody stopped in between must not stop us.
  if (!lock || retry([&] { return flock(lock.get(), LOCK_EX | LOCK_NB); }) != 0) return;
  Entries entries = read(path());
  for (const auto& [host, architecture] : changes_) {
    if (architecture.empty()) {
      entries.erase(host);
    } else if (entries.contains(host) || entries.size() < kArchCacheMax) {
      entries[host] = architecture;
    }
  }
  std::string text;
  for (const auto& [host, architecture] : entries) text += cat(host, "\t", architecture, "\n");

  const std::string temporary = path() + ".new";
  unlink(temporary.c_str());  // left by one that was killed: we hold the lock
  Fd file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) return;
  const bool written = write_all(file.get(), text.data(), text.size());
  file.reset();
  if (!written || rename(temporary.c_str(), path().c_str()) != 0) {
    unlink(temporary.c_str());
    return;
  }
  changes_.clear();
}

}  // namespace banyan
