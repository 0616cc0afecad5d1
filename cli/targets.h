// cli/targets.h -- target expressions: "local[1-3],deploy@web[01:20]:2222" becomes a list of targets.
//
// Pure text in, values out; a fuzzer feeds it. Names come from people, inventories and other programs, and
// end up in argument vectors and on terminals: what is not on the allow-list is refused here, before an
// argument vector exists. The grammar: docs/cli.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/usage_error.h"
#include "transports/container.h"

namespace banyan::cli {

constexpr std::size_t kTargetsMax = 100'000;   // of one expression: beyond any fleet, below any harm
constexpr std::size_t kTargetNameMax = 320;    // a user, a DNS name (253) and a port
constexpr std::size_t kTargetPathMax = 1'024;  // of several such with slashes between them
constexpr std::size_t kPathDepthMax = 100;     // contexts of one path: a tree may be 128 deep

// How a context is reached from the one it lies beneath.
enum class Method : std::uint8_t {
  kSsh,    // on another host
  kLocal,  // on the same machine, over a pipe
  kSudo,   // the same, as another user, by sudo
  kSu,     // by su
  kDoas,   // by doas
  kContainer,
};

struct Target {
  std::string name;  // as the person would type it, the whole path; unique within a set
  Method method = Method::kSsh;
  // kSsh: empty is what ssh's configuration says; of who becomes another: that one, never empty; kContainer:
  // empty is the container's own.
  std::string user;
  std::string host;                             // kSsh: without brackets; else empty
  std::uint16_t port = 0;                       // 0: what ssh's configuration says
  std::shared_ptr<const Target> hop = nullptr;  // the context it lies beneath; null: the root
  Engine engine = Engine::kDocker;              // kContainer
  std::string container = {};                   // as that calls it
  std::string shown = {};  // what it is called in all that is said; empty: its name. See become_everywhere()
  // What each is, and where; not whether they share the very same hop.
  bool operator==(const Target& other) const {
    const bool same_hop = hop == other.hop || (hop && other.hop && *hop == *other.hop);
    return same_hop && name == other.name && method == other.method && user == other.user &&
           host == other.host && port == other.port && engine == other.engine && container == other.container;
  }
};

// It is another user on the same machine.
inline bool is_become(const Target& target) {
  return target.method == Method::kSudo || target.method == Method::kSu || target.method == Method::kDoas;
}

inline const std::string& shown_name(const Target& target) {
  return target.shown.empty() ? target.name : target.shown;
}

// The first of its path: what we reach ourselves.
inline const Target& first_of(const Target& target) {
  const Target* at = &target;
  while (at->hop) at = at->hop.get();
  return *at;
}

struct TargetSet {
  std::vector<Target> targets;  // in the order written, each once
  // One literal name. A range or list that happens to hold a single one is not, so that scripts do not change
  // meaning as fleets grow.
  bool one = false;
  std::vector<std::string> not_excluded;  // of -x, as written: what left nothing out
};

// Throws UsageError, also when `exclude` (may be empty) leaves nothing.
TargetSet parse_targets(std::string_view expression, std::string_view exclude = {});

// What -b means: each is that user beneath what was named, and is called as that. Throws UsageError.
void become_everywhere(TargetSet& set, Method method, std::string_view user);

// Each hop becomes a target of its own, once, before the first that lies beneath it; each goes by its name.
// Throws UsageError.
void add_hops(TargetSet& set);

// "sudo". REQUIRES: it becomes another user.
std::string_view method_name(Method method);

// The last name of its path: what the context above calls it.
std::string last_name(const Target& target);

// The allow-list for users, also those of -l. Throws UsageError.
void check_user(std::string_view user);

}  // namespace banyan::cli
