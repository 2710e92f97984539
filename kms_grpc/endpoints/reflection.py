"""Server reflection, by which tools such as grpcurl learn the API: grpc.reflection.v1 and its forerunner v1alpha.

Both have the same messages, so one servicer answers both. grpcio-reflection has v1alpha alone and finds no methods,
fields or enum values by their names; only its messages are used here.
Source: https://github.com/grpc/grpc/blob/master/doc/server-reflection.md
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from typing import Any, Final

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import Default
from grpc_reflection.v1alpha import reflection_pb2

FORERUNNER: Final = "grpc.reflection.v1alpha"
PACKAGE: Final = "grpc.reflection.v1"
SERVICES: Final = (f"{PACKAGE}.ServerReflection", f"{FORERUNNER}.ServerReflection")
Request = reflection_pb2.ServerReflectionRequest
Response = reflection_pb2.ServerReflectionResponse


class Reflection:
    """Answers questions about the files that declare `services`, and about the files that those import."""

    def __init__(self, services: Collection[str]) -> None:
        self._services = sorted((*services, *SERVICES))
        without_alpha = _without_alpha()
        self._files = {without_alpha.name: without_alpha}
        for service in (*services, SERVICES[1]):
            self._add(Default().FindServiceByName(service).file)
        self._symbols = {symbol: name for name, file in self._files.items() for symbol in symbols_of(file)}
        self._extensions = {
            (extension.extendee.removeprefix("."), extension.number): name
            for name, file in self._files.items()
            for extension in file.extension
        }

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Returns the gRPC handlers of both versions."""
        method = grpc.stream_stream_rpc_method_handler(
            self._answers,
            request_deserializer=Request.FromString,
            response_serializer=Response.SerializeToString,
        )
        named = {"ServerReflectionInfo": method}
        return tuple(grpc.method_handlers_generic_handler(service, named) for service in SERVICES)

    async def _answers(self, requests: AsyncIterator[Any], _: object) -> AsyncIterator[Any]:
        async for request in requests:
            yield self.answer(request)

    def answer(self, request: Any) -> Any:
        """Returns the ServerReflectionResponse to a ServerReflectionRequest."""
        asked = request.WhichOneof("message_request")
        response = Response(valid_host=request.host, original_request=request)
        if asked == "list_services":
            response.list_services_response.service.extend(map(_named, self._services))
        elif asked == "all_extension_numbers_of_type":
            self._answer_numbers(response, request.all_extension_numbers_of_type)
        elif asked is None:
            _answer_error(response, grpc.StatusCode.INVALID_ARGUMENT, "nothing is asked")
        else:
            self._answer_files(response, *self._wanted(request, asked))
        return response

    def _wanted(self, request: Any, asked: str) -> tuple[str | None, str]:
        """Returns the name of the file that a request asks for, or None, and what it asks for in words."""
        if asked == "file_by_filename":
            return request.file_by_filename, f"file {request.file_by_filename}"
        if asked == "file_containing_symbol":
            symbol = request.file_containing_symbol.removeprefix(".")
            return self._symbols.get(symbol), f"symbol {symbol}"
        extension = request.file_containing_extension
        place = (extension.containing_type.removeprefix("."), extension.extension_number)
        return self._extensions.get(place), f"extension {place[1]} of {place[0]}"

    def _answer_files(self, response: Any, name: str | None, wanted: str) -> None:
        if name not in self._files:
            _answer_error(response, grpc.StatusCode.NOT_FOUND, f"no {wanted} here")
            return
        found = response.file_descriptor_response.file_descriptor_proto
        found.extend(file.SerializeToString() for file in self._with_imports(name, {}))

    def _with_imports(self, name: str, seen: dict[str, FileDescriptorProto]) -> Iterable[FileDescriptorProto]:
        if name not in seen:
            seen[name] = self._files[name]
            for imported in self._files[name].dependency:
                self._with_imports(imported, seen)
        return seen.values()

    def _answer_numbers(self, response: Any, extended: str) -> None:
        extended = extended.removeprefix(".")
        if extended not in self._symbols:
            _answer_error(response, grpc.StatusCode.NOT_FOUND, f"no symbol {extended} here")
            return
        response.all_extension_numbers_response.base_type_name = extended
        numbers = sorted(number for extendee, number in self._extensions if extendee == extended)
        response.all_extension_numbers_response.extension_number.extend(numbers)

    def _add(self, file: FileDescriptor) -> None:
        if file.name not in self._files:
            copy = self._files[file.name] = FileDescriptorProto()
            file.CopyToProto(copy)
            for imported in file.dependencies:
                self._add(imported)


def symbols_of(file: FileDescriptorProto) -> Iterator[str]:
    """Yields the full names of all that a file declares. An enum's values belong to the scope around the enum."""
    scope = f"{file.package}." if file.package else ""
    for service in file.service:
        yield scope + service.name
        yield from (f"{scope}{service.name}.{method.name}" for method in service.method)
    yield from (scope + extension.name for extension in file.extension)
    yield from _of_enums(scope, file.enum_type)
    for message in file.message_type:
        yield from _of_message(scope, message)


def _of_message(scope: str, message: DescriptorProto) -> Iterator[str]:
    yield scope + message.name
    scope = f"{scope}{message.name}."
    for members in (message.field, message.oneof_decl, message.extension):
        yield from (scope + member.name for member in members)
    yield from _of_enums(scope, message.enum_type)
    for nested in message.nested_type:
        yield from _of_message(scope, nested)


def _of_enums(scope: str, enums: Iterable[EnumDescriptorProto]) -> Iterator[str]:
    for enum in enums:
        yield scope + enum.name
        yield from (scope + value.name for value in enum.value)


def _named(service: str) -> Any:
    return reflection_pb2.ServiceResponse(name=service)


def _answer_error(response: Any, code: grpc.StatusCode, text: str) -> None:
    response.error_response.error_code = code.value[0]
    response.error_response.error_message = text


def _without_alpha() -> FileDescriptorProto:
    """Returns the file of grpc.reflection.v1, which differs from v1alpha's in the package only."""
    file = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name, file.package = "grpc/reflection/v1/reflection.proto", PACKAGE
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(FORERUNNER, PACKAGE)
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(FORERUNNER, PACKAGE)
        method.output_type = method.output_type.replace(FORERUNNER, PACKAGE)
    return file
