// Goal: libssh2 reads the algorithm's name and then the key itself, from one place in memory.
// Method: the order in which libssh2 1.10 asks for memory, played by hand; libssh2_sign_test has the real
// one.
#include "transports/connector/key_request.h"

#include <catch2/catch.hpp>

#include "transports/connector/wire.h"

using namespace banyan;
using namespace banyan::connector;

namespace {

Buffer key_of(std::string_view type) {
  Buffer blob;
  put_string(blob, type);
  put_string(blob, std::string(300, 'n'));
  return blob;
}

Buffer asked_with(std::string_view algorithm, Bytes key) {
  Buffer data;
  put_string(data, "session");
  put_string(data, algorithm);
  put_string(data, key);
  return data;
}

}  // namespace

TEST_CASE("an RSA key shows the algorithm's name until it was taken, and then itself, in the same place") {
  const Buffer key = key_of("ssh-rsa");
  KeyRequest request(key, "rsa-sha2-256");
  const Bytes shown = request.shown();
  CHECK(WireReader(shown).text() == "rsa-sha2-256");
  request.on_allocation(500);  // something else of the session's
  CHECK(WireReader(shown).text() == "rsa-sha2-256");
  request.on_allocation(std::string_view("rsa-sha2-256").size());
  CHECK(WireReader(shown).text() == "rsa-sha2-256");
  request.on_allocation(600);  // the packet
  CHECK(as_text(shown) == as_text(key));
  request.on_allocation(12);
  CHECK(as_text(shown) == as_text(key));
}

TEST_CASE("another key shows itself all the time") {
  const Buffer key = key_of("ssh-ed25519");
  KeyRequest request(key, "ssh-ed25519");
  for (const std::size_t bytes : {11, 500, 11}) {
    CHECK(as_text(request.shown()) == as_text(key));
    request.on_allocation(bytes);
  }
}

TEST_CASE("what libssh2 wants signed is known by its algorithm and its key, and nothing else is") {
  const Buffer key = key_of("ssh-rsa");
  const KeyRequest request(key, "rsa-sha2-256");
  CHECK(request.is_asked_in(asked_with("rsa-sha2-256", key)));
  CHECK_FALSE(request.is_asked_in(asked_with("ssh-rsa", key)));
  CHECK_FALSE(request.is_asked_in(asked_with("rsa-sha2-256", key_of("rsa-sha2-256"))));
  CHECK_FALSE(request.is_asked_in({}));
}
