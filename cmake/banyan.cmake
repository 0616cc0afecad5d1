# What every target of ours is compiled with.

find_package(Threads REQUIRED)

add_library(banyan_options INTERFACE)
target_include_directories(banyan_options INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated)
target_compile_options(banyan_options INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wno-sign-conversion -Werror)
if(BANYAN_SANITIZE)
  target_compile_options(banyan_options INTERFACE -fsanitize=${BANYAN_SANITIZE} -fno-omit-frame-pointer
                                                  -fno-sanitize-recover=all)
  target_link_options(banyan_options INTERFACE -fsanitize=${BANYAN_SANITIZE})
endif()
target_link_libraries(banyan_options INTERFACE Threads::Threads)

# banyan_folder(NAME): a library of all sources beside the calling CMakeLists.txt.
function(banyan_folder name)
  file(GLOB sources CONFIGURE_DEPENDS *.cpp)
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PUBLIC banyan_options)
endfunction()
