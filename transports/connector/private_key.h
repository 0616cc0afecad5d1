// transports/connector/private_key.h -- private keys from files, and what they sign.
//
// Reads PEM (PKCS#1, SEC1, PKCS#8) and OpenSSH's own format, encrypted or not: ed25519, ecdsa on the three
// NIST curves, RSA. libssh2 has a path of its own for key files, which signs with SHA-1 where a key is RSA,
// and could open a key only while a host waits: nothing is given to it but signatures.
//
// How a caller goes about it: read_private_key(); look_at_private_key(), which says whether a passphrase is
// wanted, and for OpenSSH's format the public key, so that the server can be asked before the person is; then
// parse_private_key(). All but the first are pure. Blocks for as long as arithmetic takes: an RSA signature
// of 4096 bits some 5 ms, opening a key in OpenSSH's format with its passphrase a tenth of a second or many
// (key_ring.h does it aside). One thread at a time a key.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "transports/secret.h"

struct evp_pkey_st;

namespace banyan::connector {

// OpenSSL reads no RSA key of more than 16,384 bits, which in PEM is 13 KiB; the rest is for remarks around
// it.
constexpr std::size_t kKeyFileMax = 64 * 1024;

// A file that others may read is refused, as ssh does.
Result<Secret> read_private_key(const std::string& path);

struct PrivateKeyForm {
  bool openssh = false;    // OpenSSH's own format
  bool encrypted = false;  // ask for the passphrase first
  // Of OpenSSH's format, which tells them without the passphrase; else empty.
  std::string_view type;  // lives for ever
  Buffer public_blob;
};

// Says what the text is, without opening it. `name` stands for the key in error texts.
Result<PrivateKeyForm> look_at_private_key(Bytes text, std::string_view name);

class PrivateKey {
 public:
  // REQUIRES: it is one of a kind that we take, with both halves. Takes ownership.
  struct Free {
    void operator()(evp_pkey_st* key) const;
  };
  using Handle = std::unique_ptr<evp_pkey_st, Free>;
  // The public half is computed from `handle`; an Error: a kind that we do not take.
  static Result<PrivateKey> adopt(Handle handle, std::string_view name);

  // "ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa", ...; lives for ever.
  std::string_view type() const { return type_; }
  const Buffer& public_blob() const { return public_blob_; }

  // What it can sign with, best first: rsa-sha2-512 and rsa-sha2-256 for RSA (never SHA-1), else its type.
  std::vector<std::string_view> algorithms() const;

  // What libssh2's sign callback returns: the signature alone, without the algorithm's name, which libssh2
  // writes itself, and the length it begins with in the packet. RSA: as long as the modulus; ecdsa: mpint r,
  // mpint s; ed25519: 64 bytes. The callback hands it over in memory of malloc() (of the session's allocator,
  // if it has one); libssh2 frees it.
  Result<Buffer> sign(std::string_view algorithm, Bytes data) const;

 private:
  PrivateKey(Handle handle, std::string_view type, Buffer public_blob)
      : handle_(std::move(handle)), type_(type), public_blob_(std::move(public_blob)) {}
  Handle handle_;
  std::string_view type_;
  Buffer public_blob_;
};

// `passphrase` is not used where the key is not encrypted. Where it is, an Error means that this passphrase
// does not open it, or that the file is damaged: which of them cannot be told.
Result<PrivateKey> parse_private_key(Bytes text, std::string_view name, std::string_view passphrase);

}  // namespace banyan::connector
