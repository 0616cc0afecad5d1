// transports/connector/keystream.h -- libssh2's encryption, many blocks at a time.
//
// libssh2 1.10 asks libcrypto for one block of 16 bytes at a time, which costs more than the cipher itself:
// it was half of what a session cost. In counter mode the bytes a message is mixed with do not depend on the
// message, so they can be made ahead, some kilobytes at once. In a program that is linked with this, two
// functions of libcrypto that libssh2 calls are ours: EVP_Cipher() mixes from what was made ahead, and leaves
// every other mode to libcrypto; EVP_CIPHER_CTX_free() wipes what is left. A libssh2 that calls another
// function goes on as if we were not there.
//
// Thread: any, as long as no two use one context at a time, which libcrypto demands too.
#pragma once

#include <cstdint>

namespace banyan::connector {

// How often bytes were made ahead, in this process. Calling it makes sure that all this is linked.
std::uint64_t keystreams_made();

}  // namespace banyan::connector
