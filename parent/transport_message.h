// parent/transport_message.h -- the part of a recipe that says how a transport is started, as bytes: the last
// field of a StartRequest (parent/start_message.h; docs/protocol.md).
//
// Only an ancestor may send one, who could run anything here as it is: so what comes is checked for its shape
// and its size, and not for what it would run. Only contexts with transports read it.
#pragma once

#include "core/msgpack.h"
#include "parent/recipe.h"

namespace banyan {

constexpr std::uint32_t kTransportWordsMax =
    1'024;                                         // arguments and variables of one transport; ssh has forty
constexpr std::size_t kRecipeFileMax = 64 * 1024;  // known_hosts has a line or two of one host
constexpr std::uint32_t kSymptomsMax = 256;        // and fifty of these

// REQUIRES: no source.
void pack_transport(Packer& out, const Recipe& recipe);
// False: it names no program, or is of another shape; what does not parse, or is too much, in.finish() says.
bool take_transport(Unpacker& in, Recipe& recipe);

// In milliseconds, rounded up.
void pack_duration(Packer& out, Nanos time);
Nanos take_duration(Unpacker& in);
std::string take_string(Unpacker& in);

}  // namespace banyan
