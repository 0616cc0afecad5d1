// transports/connector/key_request.h -- a public key as libssh2 is given it, so that an RSA key is offered
// with SHA-2.
//
// A request to log in names an algorithm and then the key, which begins with its type. For RSA the two
// differ: "rsa-sha2-256" and "ssh-rsa". libssh2 1.10 takes the algorithm from the key it is given, so it can
// only say the same twice. Twice "ssh-rsa" means SHA-1, which servers refuse. Twice "rsa-sha2-256" is taken
// by OpenSSH, and not by dropbear, which looks such a key up in authorized_keys as it stands in the request
// and does not find it. So libssh2 is given the key with the algorithm in front; the memory it asks for to
// keep that name in tells when it has read it, and the memory for the packet comes next: then the key is put
// right, before it goes into the packet. Should another libssh2 do this in another order, is_asked_in() says
// so, and nothing is signed.
//
// Pure.
#pragma once

#include <string>
#include <string_view>

#include "core/bytes.h"

namespace banyan::connector {

class KeyRequest {
 public:
  // REQUIRES: `public_blob` is one that public_key_type() knows, `algorithm` one that the key signs with.
  KeyRequest(Bytes public_blob, std::string_view algorithm);

  // For libssh2_userauth_publickey(), the same for all its calls about this key. As long as we live.
  Bytes shown() const { return shown_; }
  // To be told of every allocation of the session's while that call runs.
  void on_allocation(std::size_t bytes);
  // What libssh2 wants signed ends with this algorithm and this key?
  bool is_asked_in(Bytes data) const;

 private:
  enum class Step : std::uint8_t { kNameShown, kNameTaken, kKeyShown };
  const std::string algorithm_;
  const Buffer blob_;
  Buffer shown_;
  Step step_ = Step::kKeyShown;
};

}  // namespace banyan::connector
