// core/identity.h -- the first frame of a link in each direction: what a new context is, and who it becomes.
//
// A child says kHello before anything else; its parent answers kIdentity, and from then on both route. Field
// by field: docs/protocol.md.
#pragma once

#include <string>
#include <vector>

#include "core/router.h"

namespace banyan {

constexpr std::size_t kNameMax = 255;  // of contexts; for display only

// What a new context says of itself. Nothing in it is trusted: it is shown to people and compared.
struct Hello {
  std::string architecture, kernel, host_name;
  std::uint32_t uid = 0;
  std::int64_t pid = 0;
  std::uint64_t nonce = 0;  // the one it was started with: this is the process that was asked for

  // Of this very process.
  static Hello of_this_process(std::uint64_t nonce);
  Buffer encode() const;
  static Result<Hello> decode(Bytes bytes);
};

// What its parent makes it.
struct Identity {
  ContextId id = 0;
  ContextId first_id = 0;  // first of the range it may give to children of its own
  std::uint32_t id_count = 0;
  std::vector<ContextId> ancestors;  // nearest first, the root last; never empty
  std::string name;
  Sideways sideways = Sideways::kVertical;
  std::uint32_t message_max = kMessageMax;
  std::uint8_t log_level = 0;  // core/log.h
  LinkLimits limits;

  Buffer encode() const;
  static Result<Identity> decode(Bytes bytes);

  RouterConfig router_config() const;
};

// A control frame of these two kinds: between neighbours that have no ids for each other yet.
Header handshake_header(Handle handle);

}  // namespace banyan
