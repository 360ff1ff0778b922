# Install rules: libraries (targets seqmix and seqmix_static, those that exist), headers and the API
# as data, seqmix.pc, and the CMake package with seqmix::seqmix and seqmix::seqmix_static.
# Included by the top-level CMakeLists.txt after the targets are there.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
include(${CMAKE_CURRENT_LIST_DIR}/SeqmixVersion.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/SeqmixPkgConfig.cmake)

set(SEQMIX_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/seqmix)

# The two libraries are two exports: only the static one asks the consumer for anything else.
foreach(target seqmix seqmix_static)
    if(NOT TARGET ${target})
        continue()
    endif()
    if(NOT TARGET seqmix::${target})
        add_library(seqmix::${target} ALIAS ${target})
    endif()
    install(TARGETS ${target} EXPORT ${target}Targets
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT Runtime
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT Runtime
        NAMELINK_COMPONENT Development
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT Development
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
    install(EXPORT ${target}Targets NAMESPACE seqmix:: DESTINATION ${SEQMIX_CMAKE_DIR}
        COMPONENT Development)
endforeach()

install(FILES
    ${PROJECT_SOURCE_DIR}/include/seqmix/seqmix.h
    ${PROJECT_SOURCE_DIR}/include/seqmix/seqmix.hpp
    ${PROJECT_SOURCE_DIR}/include/seqmix/seqmix.api.json
    ${PROJECT_SOURCE_DIR}/include/seqmix/seqmix-schema.json
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/seqmix COMPONENT Development)

# What a program must add when it links libseqmix.a with a C compiler.
set(SEQMIX_PC_LIBS_PRIVATE "-lstdc++ -lm -lpthread -ldl")
if(CMAKE_CXX_IMPLICIT_LINK_LIBRARIES MATCHES "(^|;)c\\+\\+(;|$)")
    set(SEQMIX_PC_LIBS_PRIVATE "-lc++ -lm -lpthread -ldl")
endif()
seqmix_pkg_config(${PROJECT_SOURCE_DIR}/pkgconfig/seqmix.pc.in ${CMAKE_CURRENT_BINARY_DIR}/seqmix.pc)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/seqmix.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT Development)

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/seqmixConfig.cmake.in
    ${CMAKE_CURRENT_BINARY_DIR}/seqmixConfig.cmake INSTALL_DESTINATION ${SEQMIX_CMAKE_DIR}
    NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/seqmixConfigVersion.cmake
    VERSION ${SEQMIX_VERSION} COMPATIBILITY SameMajorVersion)
install(FILES
    ${CMAKE_CURRENT_BINARY_DIR}/seqmixConfig.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/seqmixConfigVersion.cmake
    DESTINATION ${SEQMIX_CMAKE_DIR} COMPONENT Development)
