#include "shm/header.h"

#include <algorithm>
#include <cstring>

#include "shm/record.h"

namespace banyan::shm {

std::string_view name_of(Kind kind) {
  switch (kind) {
    case Kind::kArray:
      return "array";
    case Kind::kRing:
      return "ring";
    case Kind::kByteRing:
      return "byte ring";
    case Kind::kList:
      return "list";
  }
  return "unknown";
}

Result<Done> check(const Shape& shape) {
  const auto bad = [](const char* why) { return Error{ErrorKind::kMismatch, why}; };
  if (shape.row_bytes == 0 || shape.row_bytes > kRowBytesMax) return bad("a row of an impossible size");
  if (shape.capacity == 0 || shape.capacity > kRowsBytesMax / shape.row_bytes)
    return bad("an impossible number of rows");
  if (shape.has_index && (shape.row_bytes < 8 || shape.row_bytes % 8 != 0))
    return bad("rows with an index that has no room");
  if (shape.kind != Kind::kArray && shape.rewrites != Rewrites::kNever && shape.kind != Kind::kRing)
    return bad("a segment that says it is written in a way it has not");
  if (shape.kind == Kind::kRing && shape.rewrites == Rewrites::kAny)
    return bad("a ring overwrites rows, and does not rewrite them");
  if (shape.kind == Kind::kByteRing && (shape.row_bytes != 1 || shape.has_index))
    return bad("a byte ring whose rows are no bytes");
  return Done{};
}

Result<Shape> shape_of(std::uint32_t kind, std::uint32_t row_bytes, std::uint32_t flags,
                       std::uint64_t capacity) {
  if (kind < std::uint32_t(Kind::kArray) || kind > std::uint32_t(Kind::kList))
    return Error{ErrorKind::kMismatch, "a segment of an unknown kind"};
  if ((flags & ~kAllFlags) != 0 || (flags & kRewritesMask) > std::uint32_t(Rewrites::kAny))
    return Error{ErrorKind::kMismatch, "a segment with unknown flags"};
  const Shape shape{Kind(kind),
                    row_bytes,
                    capacity,
                    Rewrites(flags & kRewritesMask),
                    (flags & kHasIndex) != 0,
                    (flags & kWriterFences) != 0};
  if (Result<Done> sane = check(shape); !sane) return sane.error();
  return shape;
}

bool is_name(std::string_view name) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  return !name.empty() && name.size() <= kNameMax && is_plain(name[0]) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return is_plain(c) || c == '.' || c == '_' || c == '-'; });
}

void write_identity(Header& header, const Identity& identity) {
  header.magic = kMagic;
  header.version = kLayoutVersion;
  header.kind = std::uint32_t(identity.shape.kind);
  header.row_bytes = identity.shape.row_bytes;
  header.flags = identity.shape.flags();
  header.capacity = identity.shape.capacity;
  header.data_offset = kHeaderBytes;
  header.generation = identity.generation;
  header.owner_start = identity.owner.start;
  header.owner_space = identity.owner.space;
  header.owner_pid = identity.owner.pid;
  header.descriptor_bytes = std::uint32_t(identity.descriptor.size());
  std::memcpy(header.name, identity.name.data(), identity.name.size());
  std::memcpy(header.descriptor, identity.descriptor.data(), identity.descriptor.size());
}

Result<Identity> read_identity(const Header& header) {
  if (header.magic != kMagic) return Error{ErrorKind::kMismatch, "memory that is none of ours"};
  if (header.version != kLayoutVersion)
    return Error{ErrorKind::kMismatch, "a segment of version " + std::to_string(header.version) +
                                           "; this program knows version " + std::to_string(kLayoutVersion)};
  Result<Shape> shape = shape_of(header.kind, header.row_bytes, header.flags, header.capacity);
  if (!shape) return shape.error();
  if (header.data_offset != kHeaderBytes || header.descriptor_bytes > sizeof header.descriptor)
    return Error{ErrorKind::kMismatch, "a header whose parts do not fit"};

  const std::string_view name(header.name, ::strnlen(header.name, sizeof header.name));
  if (!is_name(name)) return Error{ErrorKind::kMismatch, "a segment without a proper name"};
  const std::string_view descriptor(header.descriptor, header.descriptor_bytes);
  if (shape->kind == Kind::kArray || shape->kind == Kind::kRing) {
    Result<std::size_t> bytes = descriptor_bytes(descriptor);
    if (!bytes) return Error{ErrorKind::kMismatch, bytes.error().text};
    if (*bytes != shape->row_bytes)
      return Error{ErrorKind::kMismatch, "rows of another size than their descriptor says"};
  }
  return Identity{std::string(name),
                  *shape,
                  {header.owner_pid, header.owner_start, header.owner_space},
                  header.generation,
                  std::string(descriptor)};
}

}  // namespace banyan::shm
