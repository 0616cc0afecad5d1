// transports/address_family.h -- which kind of address a host may be reached at: ssh's -4 and -6.
#pragma once

#include <cstdint>

namespace banyan {

enum class AddressFamily : std::uint8_t { kAny, kIpv4, kIpv6 };

}  // namespace banyan
