// transports/arch_cache.h -- which architecture a host had last time, so that a known host costs no round
// trip.
//
// A guess, and treated as one: stage 0 refuses a wrong one before it takes a byte. A file of lines,
// "host<TAB> architecture", in the cache folder; damage to it costs a round trip a host and nothing else.
// Written by replacing it, under a lock, so that no program undoes what another wrote. Not thread-safe.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

namespace banyan {

constexpr std::size_t kArchCacheMax = 100'000;  // hosts; some 4 MiB

class ArchCache {
 public:
  // The usual folder: $BANYAN_CACHE, else $XDG_CACHE_HOME/banyan, else ~/.cache/banyan; empty when there is
  // none.
  static std::string default_folder();

  // Reads what is there. An empty folder: remembers nothing.
  explicit ArchCache(std::string folder);

  // Empty: not known.
  std::string find(std::string_view host) const;
  void learn(std::string_view host, std::string_view architecture);
  void forget(std::string_view host);

  // Writes what was learned and forgotten since. Failure is harmless and silent: it is a cache. Never waits:
  // where another program is writing right now, ours is kept for the next save().
  void save();

 private:
  using Entries = std::map<std::string, std::string, std::less<>>;
  std::string path() const;
  static Entries read(const std::string& path);

  std::string folder_;
  Entries known_;
  Entries changes_;  // empty value: forgotten
};

}  // namespace banyan
