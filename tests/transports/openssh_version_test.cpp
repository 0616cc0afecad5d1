// Goal: ssh is given an option only where it knows it.
// Method: what several versions say of themselves.
#include "transports/openssh_version.h"

#include <catch2/catch.hpp>

using namespace banyan;

TEST_CASE("an ssh of 8.7 and later knows SessionType, and nothing else is believed to") {
  for (const char* version :
       {"OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.22 25 Aug 2026\n", "OpenSSH_8.7p1, LibreSSL 3.3.6",
        "OpenSSH_10.0p2", "OpenSSH_for_Windows_9.5p1, LibreSSL 3.8.2"}) {
    CAPTURE(version);
    CHECK(knows_session_type(version));
  }
  for (const char* version : {"", "OpenSSH_8.6p1", "OpenSSH_7.9p1 Raspbian-10", "OpenSSH_", "OpenSSH_9",
                              "OpenSSH_9.", "Dropbear v2022.83", "sh: 1: exec: ssh: not found\n"}) {
    CAPTURE(version);
    CHECK_FALSE(knows_session_type(version));
  }
}
