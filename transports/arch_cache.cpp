#include "transports/arch_cache.h"

#include <algorithm>
#include <cstdlib>

#include "core/text.h"
#include "parent/image.h"
#include "transports/cache_file.h"

namespace banyan {
namespace {

constexpr const char* kFileName = "architectures";
constexpr std::size_t kFileMax = 16 << 20;  // more than kArchCacheMax honest lines
constexpr std::size_t kHostMax = 1'024;

bool is_host(std::string_view text) {
  auto good = [](char c) { return static_cast<unsigned char>(c) > ' ' || c == ' '; };
  return !text.empty() && text.size() <= kHostMax && std::ranges::all_of(text, good);
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
  return cat(folder_, "/", kFileName);
}

ArchCache::Entries ArchCache::read(const std::string& path) {
  Entries entries;
  const std::string text = read_cache_file(path, kFileMax);
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
  if (folder_.empty() || changes_.empty()) return;
  const bool written = replace_cache_file(folder_, kFileName, [this] {
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
    return text;
  });
  if (written) changes_.clear();
}

}  // namespace banyan
