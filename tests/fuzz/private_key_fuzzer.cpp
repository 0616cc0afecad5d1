// Goal: no bytes in place of a private key do harm or take long, and what opens can sign and is the key its
// header promises. Method: the input as what stands in an OpenSSH key, decoded, with a passphrase; as the
// text of any key file; and as a public key.

#include <algorithm>

#include "core/assert.h"
#include "transports/connector/bcrypt.h"
#include "transports/connector/openssh_key.h"
#include "transports/connector/private_key.h"
#include "transports/connector/public_key.h"
#include "transports/connector/wire.h"

using namespace banyan;
using namespace banyan::connector;

namespace {

void use(const PrivateKey& key) {
  ASSERT(public_key_type(key.public_blob()) == key.type());
  ASSERT(parse_public_key(public_key_text(key.public_blob())) == key.public_blob());
  for (const std::string_view algorithm : key.algorithms())
    if (const Result<Buffer> signature = key.sign(algorithm, as_bytes("data"))) ASSERT(!signature->empty());
}

constexpr std::string_view kPassphrase = "passphrase";

// The passphrase, unless it would take long: a round is ten milliseconds. More than are taken at all must be
// refused before the first, and the fuzzer's deadline sees to that.
std::string_view passphrase_for(Bytes decoded) {
  constexpr std::string_view kMagic("openssh-key-v1\0", 15);
  constexpr std::uint32_t kQuick = 2;
  if (!as_text(decoded).starts_with(kMagic)) return "";
  WireReader in(decoded.subspan(kMagic.size()));
  in.string();  // the cipher
  in.string();  // how the key is derived
  WireReader options(in.string());
  options.string();  // the salt
  const std::uint32_t rounds = options.number();
  return rounds <= kQuick || rounds > kBcryptRoundsMax ? kPassphrase : "";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes bytes(data, size);
  const Result<PrivateKeyForm> form = look_at_openssh_key(bytes, "fuzz");
  if (const Result<PrivateKey> key = parse_openssh_key(bytes, "fuzz", passphrase_for(bytes))) {
    ASSERT(form && form->type == key->type() && form->public_blob == key->public_blob());
    use(*key);
  }
  const Result<PrivateKeyForm> text_form = look_at_private_key(bytes, "fuzz");
  // Opening OpenSSH's format takes as long as its rounds say: too long for here.
  const std::string_view passphrase = text_form && text_form->openssh ? "" : kPassphrase;
  if (const Result<PrivateKey> key = parse_private_key(bytes, "fuzz", passphrase)) {
    ASSERT(text_form);
    use(*key);
  }
  public_key_type(bytes);
  return 0;
}
