// transports/known_keys.h -- what kinds of keys there are: of hosts, in known_hosts; our own, in key files.
//
// Enough to decide who can use them (transports/back_end.h), no more: nothing here is verified or decrypted.
// Pure: texts of files in, kinds out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace banyan {

// A host key that known_hosts has for a host.
struct KnownHostKey {
  std::string type;           // "ssh-ed25519"
  bool is_authority = false;  // @cert-authority: it signs keys of hosts
  bool operator==(const KnownHostKey&) const = default;
};

// Adds what the text of a known_hosts file knows of `name` (known_hosts_names()), hashed names and patterns
// included; revoked keys are left out.
void find_host_keys(std::string_view known_hosts, std::string_view name, std::vector<KnownHostKey>& found);

// What is known of it, lines that go by `alias` instead: revoked keys too, and authorities. Each ends in a
// newline.
std::string host_key_lines(std::string_view known_hosts, std::string_view name, std::string_view alias);

enum class KeyKind {
  kMissing,     // no such file
  kUnreadable,  // there, and not ours to read
  kUnknown,     // a format that does not say, or none
  kEd25519,
  kEcdsa,
  kRsa,
  kDsa,
  kFido,         // on a security key: sk-...
  kCertificate,  // of a key
};
std::string_view name_of(KeyKind kind);

// By its type: "ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "sk-ssh-ed25519@openssh.com", ...
KeyKind kind_of_type(std::string_view type);
// By the text of a key file, private (encrypted too) or public.
KeyKind kind_of_key_file(std::string_view text);
// Has it a passphrase? Of OpenSSH's format and of PEM; false also for what is neither.
bool is_encrypted_key_file(std::string_view text);

}  // namespace banyan
