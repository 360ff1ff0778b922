# seqmix_version_script(target): the shared library exports the functions of capi/symbols.txt and
# nothing else, under the node SEQMIX_<ABI major>, and carries the soname libseqmix.so.<ABI major>.
#
# The node's name holds the ABI's major only: a release number there would make programs that were
# linked with one release refuse to load with the next. On other formats than ELF visibility is all.
#   -z defs      an undefined symbol is an error of this link, not of the user's program
#   -z now       every symbol is resolved at load: no resolution, and no lock, inside a call
#   -z nodelete  dlclose leaves the code mapped: worker threads may still be returning from it
include(${CMAKE_CURRENT_LIST_DIR}/SeqmixVersion.cmake)
set(SEQMIX_SYMBOLS ${CMAKE_CURRENT_LIST_DIR}/../capi/symbols.txt)

function(seqmix_version_script target)
    set_target_properties(${target} PROPERTIES VERSION ${SEQMIX_VERSION} SOVERSION ${SEQMIX_SOVERSION})
    if(WIN32 OR APPLE)
        return()
    endif()
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${SEQMIX_SYMBOLS})
    file(STRINGS ${SEQMIX_SYMBOLS} lines REGEX "^[^#]")
    set(names "")
    foreach(line IN LISTS lines)
        # From 1.0 on, functions that a minor version adds get a node of their own (SEQMIX_1.1).
        if(NOT line MATCHES "^(seqmix_[a-z0-9_]+) 0\\.[0-9]+$")
            message(FATAL_ERROR "capi/symbols.txt: cannot read '${line}' (name and since, 0.x)")
        endif()
        string(APPEND names "        ${CMAKE_MATCH_1};\n")
    endforeach()
    set(script ${CMAKE_CURRENT_BINARY_DIR}/${target}.map)
    file(CONFIGURE OUTPUT ${script} @ONLY CONTENT
"SEQMIX_@SEQMIX_SOVERSION@ {
    global:
@names@    local:
        *;
};
")
    target_link_options(${target} PRIVATE "LINKER:--version-script=${script}"
                        "LINKER:-z,now" "LINKER:-z,nodelete")
    # clang does not link a sanitizer's runtime into shared libraries.
    if(NOT "${CMAKE_CXX_FLAGS} ${CMAKE_SHARED_LINKER_FLAGS}" MATCHES "-fsanitize")
        target_link_options(${target} PRIVATE "LINKER:-z,defs")
    endif()
    set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS ${script})
endfunction()
