<?php
// Loads all stubs for PHP in the current directory, writes and reads a message, and prints the services with the numbers of
// their methods. Any warning ends the program.
namespace Grpc {
    // Debian has no package of gRPC for PHP: the class that the stubs' clients extend stands here without its methods.
    class BaseStub
    {
    }
}

namespace {
    // Not E_DEPRECATED: Debian's protobuf library for PHP is older than its PHP.
    error_reporting(E_ALL & ~E_DEPRECATED);
    $raise = fn ($level, $text, $file, $line) => throw new ErrorException($text, 0, $level, $file, $line);
    set_error_handler($raise, E_ALL & ~E_DEPRECATED);
    spl_autoload_register(function (string $class): void {
        foreach ([getcwd(), '/usr/share/php'] as $folder) {
            $file = "$folder/" . strtr($class, '\\', '/') . '.php';
            if (is_file($file)) {
                require_once $file;
                return;
            }
        }
    });

    function equal(mixed $left, mixed $right): string
    {
        return $left->serializeToString() === $right->serializeToString() ? 'equal' : 'different';
    }

    $files = new RecursiveIteratorIterator(new RecursiveDirectoryIterator('KmsGrpc', FilesystemIterator::SKIP_DOTS));
    foreach ($files as $file) {
        $class = strtr(substr($file, 0, -4), '/', '\\');
        class_exists($class) || throw new Exception("no class $class");
        if (is_subclass_of($class, '\Google\Protobuf\Internal\Message')) {
            new $class();
        }
    }
    $request = new KmsGrpc\V1\EncryptRequest(
        ['key_id' => 'alias/orders', 'plaintext' => 'hello', 'encryption_context' => ['shop' => 'Größe']]
    );
    $read = new KmsGrpc\V1\EncryptRequest();
    $read->mergeFromString($request->serializeToString());
    echo $read->getPlaintext(), ' ', equal($read, $request), "\n";
    foreach (['EnvelopeService', 'KeyManagementService'] as $service) {
        $methods = (new ReflectionClass("KmsGrpc\\V1\\{$service}Client"))->getMethods(ReflectionMethod::IS_PUBLIC);
        $named = array_filter($methods, fn ($method) => !$method->isConstructor());
        echo "kms_grpc.v1.$service ", count($named), "\n";
    }
}
