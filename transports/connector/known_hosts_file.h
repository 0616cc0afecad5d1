// transports/connector/known_hosts_file.h -- known_hosts files on disk.
//
// Other programs write these files too: ssh appends without a lock, ssh-keygen replaces them. Ours lock the
// file itself, so that nothing else is left lying about.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/bytes.h"
#include "core/loop.h"
#include "core/result.h"
#include "transports/connector/known_hosts.h"

namespace banyan::connector {

// Adds what the file says. One that does not exist, and a device such as /dev/null, says nothing.
Result<Done> read_known_hosts(const std::string& path, KnownHosts& to);

// A lock is held while a small file is read and a line written. Whoever holds it for two seconds was stopped,
// and must not stop us.
constexpr int kLockTriesMax = 200;
constexpr Nanos kLockPause = 10 * kMillisecond;
Error is_locked(const std::string& path);  // when the tries are used up

enum class Kept : std::uint8_t {
  kWritten,
  kWasThere,  // somebody else wrote it first
  kNowhere,   // the file is a device such as /dev/null
  kLocked,    // by another program: nothing was done, try again
};

// Writes one line that makes `key` known for the host, for all who accept keys they do not know yet. Makes
// the file (0600) and the folder it lies in (0700) where they are missing. Under the lock the file is read
// once more: the same key is written once, however many processes write, and where another key of the host or
// its revocation stands by now, that is an Error (kHostKey). `hash_names` as HashKnownHosts. Waits for
// nobody.
Result<Kept> append_host_key(const std::string& path, std::string_view name, std::uint16_t port,
                             bool hash_names, Bytes key);

}  // namespace banyan::connector
