// parent/image_header.h -- how an image follows its loader on the wire. Shared with the loader: constants
// only.
//
// magic u32, compressed length u32, plain length u32, all little-endian; then one zstd frame of exactly that
// compressed length, with its content size and checksum. In it the targets of branches are written as places
// (bootstrap/branches.h).
#pragma once

#include <cstddef>
#include <cstdint>

namespace banyan {

constexpr std::uint32_t kImageMagic = 0x31494e42;  // "BNI1" on the wire
constexpr std::size_t kImageHeaderBytes = 12;
// Of both lengths. A static program with debugging symbols stays well below; a loader that is lied to asks
// for no more than three times this (compressed, plain, and the file in memory).
constexpr std::uint32_t kImageBytesMax = 64 << 20;

}  // namespace banyan
