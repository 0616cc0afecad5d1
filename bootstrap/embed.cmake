# cmake -DPACK=tool -DFOLDER=where -DARCHITECTURES=a,b -DFOLDERS=fa,fb -P embed.cmake
#
# Packs what bootstrap/image/ built for each architecture, writes images.S and images_table.inc into FOLDER, which
# bootstrap/embedded_images.cpp is made of, and prints what it all weighs.
string(REPLACE "," ";" ARCHITECTURES "${ARCHITECTURES}")
string(REPLACE "," ";" FOLDERS "${FOLDERS}")

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

# One size for all, so that stage 0 can ask for it before it knows the machine; its end marker takes six bytes.
set(loader_bytes 0)
foreach(arch folder IN ZIP_LISTS ARCHITECTURES FOLDERS)
  run(${PACK} trim ${folder}/loader.image ${FOLDER}/loader.${arch}.plain)
  file(SIZE ${FOLDER}/loader.${arch}.plain bytes)
  math(EXPR bytes "(${bytes} + 6 + 7) / 8 * 8")
  if(bytes GREATER loader_bytes)
    set(loader_bytes ${bytes})
  endif()
endforeach()

set(assembly "// Made by bootstrap/embed.cmake.\n  .section .rodata\n")
set(table "// Made by bootstrap/embed.cmake.\nconstexpr std::size_t kLoaderBytes = ${loader_bytes};\n")
set(entries "")
foreach(arch folder IN ZIP_LISTS ARCHITECTURES FOLDERS)
  run(${PACK} pad ${FOLDER}/loader.${arch}.plain ${FOLDER}/loader.${arch} ${loader_bytes})
  run(${PACK} trim ${folder}/agent.image ${FOLDER}/agent.${arch}.plain)
  run(${PACK} compress ${FOLDER}/agent.${arch}.plain ${FOLDER}/agent.${arch}.zst)
  file(SIZE ${FOLDER}/loader.${arch}.plain loader_plain)
  file(SIZE ${FOLDER}/agent.${arch}.plain plain)
  file(SIZE ${FOLDER}/agent.${arch}.zst compressed)
  file(SHA256 ${FOLDER}/agent.${arch}.plain hash)
  # The first eight bytes, as the little-endian number they are in memory.
  string(REGEX REPLACE "^(..)(..)(..)(..)(..)(..)(..)(..).*" "0x\\8\\7\\6\\5\\4\\3\\2\\1" id ${hash})
  foreach(part loader.${arch} agent.${arch}.zst)
    string(MAKE_C_IDENTIFIER image_${part} symbol)
    file(SIZE ${FOLDER}/${part} bytes)
    string(APPEND assembly "  .balign 16\n  .global ${symbol}\n${symbol}:\n  .incbin \"${FOLDER}/${part}\"\n")
    string(APPEND table "extern \"C\" const std::uint8_t ${symbol}[${bytes}];\n")
  endforeach()
  string(APPEND entries "    {\"${arch}\", image_loader_${arch}, image_agent_${arch}_zst, ${plain}, ${id}},\n")
  math(EXPR sent "${loader_bytes} + 12 + ${compressed}")
  message("images: ${arch}: loader ${loader_plain} (padded ${loader_bytes}), agent ${plain}, compressed ${compressed}; \
sent ${sent} bytes")
endforeach()
list(LENGTH ARCHITECTURES count)
string(APPEND table "constexpr std::array<Image, ${count}> kImages = {{\n${entries}}};\n")
string(APPEND assembly "  .section .note.GNU-stack,\"\",%progbits\n")
file(WRITE ${FOLDER}/images.S "${assembly}")
file(WRITE ${FOLDER}/images_table.inc "${table}")
