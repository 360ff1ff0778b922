# cmake -DBUILD_DIR= -DSOURCE_DIR= -DWORK_DIR= -DLIBDIR= -DCC= [-DCXX= -DCONFIG= -DC_FLAGS= -DSTATIC=ON]
#       -P install_test.cmake
#
# Installs the build into a fresh prefix, builds and runs a C program against it through pkg-config
# (shared and static) and through find_package (shared with C alone, static), moves the prefix, and
# does all of it again. Then checks seqmix.pc for absolute library directories.
cmake_minimum_required(VERSION 3.22)

# A script cannot choose its exit status: CTest looks for the word SKIP at the start of a line.
macro(skip_test reason)
    if("$ENV{SEQMIX_REQUIRE_DATA}" STREQUAL "1")
        message(FATAL_ERROR "may not be skipped: ${reason}")
    endif()
    message("SKIP: ${reason}")
    return()
endmacro()

function(run what)
    cmake_parse_arguments(PARSE_ARGV 1 run "" "OUTPUT;DIRECTORY" "COMMAND")
    if(NOT run_DIRECTORY)
        set(run_DIRECTORY ${WORK_DIR})
    endif()
    execute_process(COMMAND ${run_COMMAND} WORKING_DIRECTORY ${run_DIRECTORY}
        RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE errors)
    if(NOT result EQUAL 0)
        list(JOIN run_COMMAND " " command)
        message(FATAL_ERROR "${what} failed (${result}): ${command}\n${output}${errors}")
    endif()
    if(run_OUTPUT)
        set(${run_OUTPUT} "${output}" PARENT_SCOPE)
    endif()
endfunction()

find_program(PKG_CONFIG NAMES pkg-config pkgconf)
if(NOT PKG_CONFIG)
    skip_test("pkg-config is not installed")
endif()
file(REMOVE_RECURSE ${WORK_DIR})
file(MAKE_DIRECTORY ${WORK_DIR})
separate_arguments(c_flags UNIX_COMMAND "${C_FLAGS}")
set(expected "installed seqmix [0-9.]+ works")

# pkg-config's words for the seqmix in `prefix`, as a list.
function(pkg_config output prefix)
    run("pkg-config" OUTPUT words COMMAND ${CMAKE_COMMAND} -E env
        PKG_CONFIG_PATH=${prefix}/${LIBDIR}/pkgconfig ${PKG_CONFIG} ${ARGN} seqmix)
    separate_arguments(words UNIX_COMMAND "${words}")
    set(${output} "${words}" PARENT_SCOPE)
endfunction()

# Programs find the shared library of the prefix, not one of the system.
function(run_consumer what prefix program)
    run("${what}" OUTPUT output COMMAND ${CMAKE_COMMAND} -E env LD_LIBRARY_PATH=${prefix}/${LIBDIR}
        ${program})
    if(NOT output MATCHES "${expected}")
        message(FATAL_ERROR "${what}: the program says ${output}")
    endif()
    message(STATUS "${what}: works")
endfunction()

function(check_prefix name prefix)
    set(source ${SOURCE_DIR}/tests/install/pkgconfig_consumer/main.c)
    set(work ${WORK_DIR}/use_${name})
    file(MAKE_DIRECTORY ${work})

    # Nothing installed knows where it was built or first installed.
    file(GLOB_RECURSE texts ${prefix}/*.pc ${prefix}/*.cmake ${prefix}/*.h ${prefix}/*.hpp)
    foreach(text IN LISTS texts)
        file(READ ${text} content)
        foreach(path ${BUILD_DIR} ${SOURCE_DIR} ${WORK_DIR})
            string(FIND "${content}" "${path}" position)
            if(NOT position EQUAL -1)
                message(FATAL_ERROR "${text} holds the path ${path}")
            endif()
        endforeach()
    endforeach()

    pkg_config(words ${prefix} --cflags --libs)
    run("${name}: shared, pkg-config" COMMAND ${CC} ${c_flags} -std=c99 -Wall -Wextra -Wpedantic
        -Werror ${source} ${words} -o ${work}/shared)
    run_consumer("${name}: shared, pkg-config" ${prefix} ${work}/shared)

    if(STATIC)
        pkg_config(words ${prefix} --static --cflags --libs)
        # The whole program static where the C library can be, else libseqmix.a only.
        file(WRITE ${work}/empty.c "int main(void) { return 0; }\n")
        execute_process(COMMAND ${CC} -static ${work}/empty.c -lstdc++ -o ${work}/empty
            RESULT_VARIABLE no_static OUTPUT_QUIET ERROR_QUIET)
        if(no_static OR c_flags)
            list(TRANSFORM words REPLACE "^-lseqmix$" "-l:libseqmix.a")
        else()
            list(PREPEND words -static)
        endif()
        run("${name}: static, pkg-config" COMMAND ${CC} ${c_flags} -std=c99 ${source} ${words}
            -o ${work}/static)
        run_consumer("${name}: static, pkg-config" /nowhere ${work}/static)
    endif()

    set(projects cmake_consumer)
    if(STATIC)
        list(APPEND projects cmake_consumer_static)
    endif()
    foreach(project IN LISTS projects)
        set(more "")
        if(project MATCHES "static")
            set(more -DCMAKE_CXX_COMPILER=${CXX} "-DCMAKE_CXX_FLAGS=${C_FLAGS}")
        endif()
        run("${name}: ${project}, configure" COMMAND ${CMAKE_COMMAND}
            -S ${SOURCE_DIR}/tests/install/${project} -B ${work}/${project}
            -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_C_COMPILER=${CC} "-DCMAKE_C_FLAGS=${C_FLAGS}"
            -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF ${more})
        file(STRINGS ${work}/${project}/CMakeCache.txt found REGEX "^seqmix_DIR:")
        string(FIND "${found}" "${prefix}/" position)
        if(position EQUAL -1)
            message(FATAL_ERROR "${name}: ${project} found another seqmix: ${found}")
        endif()
        run("${name}: ${project}, build" COMMAND ${CMAKE_COMMAND} --build ${work}/${project})
        run_consumer("${name}: ${project}" ${prefix} ${work}/${project}/consumer)
    endforeach()
endfunction()

# ---- install, use, move, use

set(config "")
if(CONFIG)
    set(config --config ${CONFIG})
endif()
run("install" COMMAND ${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${WORK_DIR}/first ${config})
foreach(file include/seqmix/seqmix.h include/seqmix/seqmix.hpp include/seqmix/seqmix.api.json
        include/seqmix/seqmix-schema.json
        ${LIBDIR}/libseqmix.so ${LIBDIR}/libseqmix.so.0 ${LIBDIR}/pkgconfig/seqmix.pc
        ${LIBDIR}/cmake/seqmix/seqmixConfig.cmake ${LIBDIR}/cmake/seqmix/seqmixConfigVersion.cmake)
    if(NOT EXISTS ${WORK_DIR}/first/${file})
        message(FATAL_ERROR "not installed: ${file}")
    endif()
endforeach()
check_prefix(first ${WORK_DIR}/first)
file(RENAME ${WORK_DIR}/first ${WORK_DIR}/moved)
check_prefix(moved ${WORK_DIR}/moved)

# ---- the package refuses another major version

file(WRITE ${WORK_DIR}/wrong/CMakeLists.txt
    "cmake_minimum_required(VERSION 3.22)\nproject(wrong LANGUAGES C)\nfind_package(seqmix 1.0 CONFIG QUIET)\n"
    "if(seqmix_FOUND)\nmessage(FATAL_ERROR \"accepted\")\nendif()\n")
run("a request for 1.0 must not be met" COMMAND ${CMAKE_COMMAND} -S ${WORK_DIR}/wrong
    -B ${WORK_DIR}/wrong/build -DCMAKE_PREFIX_PATH=${WORK_DIR}/moved -DCMAKE_C_COMPILER=${CC})

# ---- seqmix.pc with absolute directories

include(${SOURCE_DIR}/cmake/SeqmixPkgConfig.cmake)
set(SEQMIX_VERSION 0.1.0)
set(SEQMIX_PC_LIBS_PRIVATE "")
function(check_pc libdir includedir expected_libdir expected_includedir)
    set(CMAKE_INSTALL_PREFIX ${WORK_DIR}/prefix)
    set(CMAKE_INSTALL_LIBDIR ${libdir})
    set(CMAKE_INSTALL_INCLUDEDIR ${includedir})
    if(NOT IS_ABSOLUTE ${libdir})
        set(libdir ${CMAKE_INSTALL_PREFIX}/${libdir})
    endif()
    seqmix_pkg_config(${SOURCE_DIR}/pkgconfig/seqmix.pc.in ${libdir}/pkgconfig/seqmix.pc)
    foreach(variable libdir includedir)
        run("pkg-config" OUTPUT value COMMAND ${CMAKE_COMMAND} -E env
            PKG_CONFIG_PATH=${libdir}/pkgconfig ${PKG_CONFIG} --variable=${variable} seqmix)
        string(STRIP "${value}" value)
        get_filename_component(value "${value}" ABSOLUTE)
        if(NOT "${value}" STREQUAL "${expected_${variable}}")
            message(FATAL_ERROR "libdir ${libdir}: ${variable} is ${value}, "
                                "expected ${expected_${variable}}")
        endif()
    endforeach()
endfunction()
set(prefix ${WORK_DIR}/prefix)
check_pc(lib include ${prefix}/lib ${prefix}/include)
check_pc(lib/x86_64-linux-gnu include ${prefix}/lib/x86_64-linux-gnu ${prefix}/include)
check_pc(${prefix}/lib64 include ${prefix}/lib64 ${prefix}/include)
check_pc(${WORK_DIR}/elsewhere/lib include ${WORK_DIR}/elsewhere/lib ${prefix}/include)
check_pc(lib ${WORK_DIR}/elsewhere/include ${prefix}/lib ${WORK_DIR}/elsewhere/include)
message(STATUS "seqmix.pc: relative and absolute directories are right")
