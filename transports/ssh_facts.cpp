#include "transports/ssh_facts.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>

#include "core/fd.h"
#include "core/text.h"

namespace banyan {
namespace {

constexpr std::size_t kFileMax =
    32 << 20;  // of known_hosts: some 200,000 keys; of a larger one, the beginning
constexpr std::size_t kKeyFileMax = 64 * 1024;
constexpr std::size_t kFilesMax = 1'000;  // remembered at once: %-tokens can make one for each host

struct Read {
  bool exists = false, readable = false;
  std::string text;
};

Read read_file(const std::string& path, std::size_t max) {
  Read read;
  Fd file(retry([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); }));
  if (!file) {
    read.exists = errno != ENOENT && errno != ENOTDIR;
    return read;
  }
  read.exists = true;
  struct stat info;
  if (::fstat(file.get(), &info) != 0) return read;
  if (!S_ISREG(info.st_mode)) {  // /dev/null is as good as empty; a folder is no file
    read.readable = S_ISCHR(info.st_mode);
    return read;
  }
  read.text.resize(std::min(std::size_t(info.st_size), max));
  std::size_t have = 0;
  while (have < read.text.size()) {
    const ssize_t got =
        retry([&] { return ::read(file.get(), read.text.data() + have, read.text.size() - have); });
    if (got <= 0) break;
    have += std::size_t(got);
  }
  read.text.resize(have);
  read.readable = true;
  return read;
}

bool is_socket(const std::string& path) {
  struct stat info;
  return !path.empty() && ::stat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode);
}

}  // namespace

const std::string& SshFacts::known_hosts(const std::string& path) {
  auto it = known_hosts_.find(path);
  if (it != known_hosts_.end()) return it->second;
  if (known_hosts_.size() >= kFilesMax) known_hosts_.clear();
  return known_hosts_[path] = read_file(path, kFileMax).text;
}

const KeyFile& SshFacts::key(const std::string& path) {
  auto it = keys_.find(path);
  if (it != keys_.end()) return it->second;
  if (keys_.size() >= kFilesMax) keys_.clear();
  KeyFile key;
  key.path = path;
  const Read read = read_file(path, kKeyFileMax);
  const Read beside = read_file(path + ".pub", kKeyFileMax);  // the private one may be in the key agent
  key.kind = kind_of_key_file(read.text);
  key.is_encrypted = is_encrypted_key_file(read.text);
  if (key.kind == KeyKind::kUnknown) key.kind = kind_of_key_file(beside.text);
  if (key.kind == KeyKind::kUnknown && !read.readable)
    key.kind = read.exists ? KeyKind::kUnreadable : KeyKind::kMissing;
  key.has_certificate = ::access((path + "-cert.pub").c_str(), F_OK) == 0;
  return keys_[path] = std::move(key);
}

bool SshFacts::has_kerberos_ticket() {
  const std::string cache = local_.variable("KRB5CCNAME").value_or(cat("/tmp/krb5cc_", local_.id));
  std::string_view path = cache;
  if (path.starts_with("FILE:")) path.remove_prefix(5);
  if (!path.starts_with('/')) return !path.empty();  // in the kernel or a daemon: somebody set that up
  return ::access(std::string(path).c_str(), R_OK) == 0;
}

std::string SshFacts::known_hosts_lines(const SshSettings& settings, std::string_view alias) {
  std::string lines;
  for (const std::string& name : known_hosts_names(settings)) {
    for (const auto* list : {&settings.user_known_hosts, &settings.global_known_hosts})
      for (const std::string& path : *list) lines += host_key_lines(known_hosts(path), name, alias);
    if (!lines.empty()) break;
  }
  return lines;
}

BackEndFacts SshFacts::about(const SshSettings& settings) {
  BackEndFacts facts{.settings = settings};
  for (const std::string& path : settings.identity_files) facts.keys.push_back(key(path));
  for (const std::string& name : known_hosts_names(settings)) {
    for (const auto* list : {&settings.user_known_hosts, &settings.global_known_hosts}) {
      for (const std::string& path : *list) find_host_keys(known_hosts(path), name, facts.known);
    }
    if (!facts.known.empty()) break;
  }
  facts.has_control_socket = is_socket(settings.control_path);
  facts.has_kerberos_ticket = has_kerberos_ticket();
  facts.has_connector = has_connector_;
  return facts;
}

}  // namespace banyan
