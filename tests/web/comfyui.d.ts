// As much of ComfyUI's front end as the pack's scripts use.

declare module "*/scripts/app.js" {
  export interface Widget {
    name: string;
    label?: string;
    type: string;
    value: unknown;
    element: HTMLElement;
    serialize?: boolean;
    advanced?: boolean;
    visibility?: { surfaces: { canvas: string } };
    options?: { advanced?: boolean };
    callback?: (value: unknown) => void;
  }

  export interface WidgetOptions {
    serialize: boolean;
    hideOnZoom: boolean;
    getMinHeight: () => number;
    getValue: () => string;
  }

  export interface Graph {
    subgraphs?: Map<string, Graph>;
    getNodeById(id: string): Node | null;
  }

  export interface Node {
    id: number | string;
    title: string;
    constructor: { comfyClass?: string; nodeData?: { python_module?: string } };
    graph?: Graph | null;
    subgraph?: Graph;
    widgets?: Widget[];
    properties: Record<string, unknown>;
    size: [number, number];
    addDOMWidget(name: string, type: string, element: HTMLElement, options: WidgetOptions): Widget;
    showAdvanced?: boolean;
    inputs?: { widget?: { name: string } }[];
    isInputConnected(slot: number): boolean;
    computeSize(): [number, number];
    setSize(size: [number, number]): void;
    onExecuted?: (output: any) => void;
    onConfigure?: (data: unknown) => void;
    onRemoved?: () => void;
  }

  export interface Canvas {
    constructor: { link_type_colors: Record<string, string> };
    default_connection_color_byType: Record<string, string>;
    emitBeforeChange?(): void;
    emitAfterChange?(): void;
    processMouseDown(event: PointerEvent): void;
    processMouseMove(event: PointerEvent): void;
    processMouseUp(event: PointerEvent): void;
    processMouseWheel(event: WheelEvent): void;
    setDirty(foreground: boolean, background: boolean): void;
  }

  export interface Extension {
    name: string;
    setup?(): void;
    nodeCreated?(node: Node): void;
    getNodeMenuItems?(node: Node): { content: string; callback: () => void }[];
    onNodeOutputsUpdated?(outputs: Record<string, any>): void;
  }

  export const ComfyApp: {
    clipspace_return_node: unknown;
    open_maskeditor?(): void;
  };

  export const app: {
    graphToPrompt(): Promise<{ output: Record<string, { class_type: string; inputs: Record<string, unknown> }> }>;
    canvas: Canvas;
    graph: Graph;
    rootGraph?: Graph;
    extensionManager?: { setting?: { get(name: string): unknown } };
    registerExtension(extension: Extension): void;
  };
}

declare module "*/scripts/api.js" {
  export const api: {
    fetchApi(route: string, options?: RequestInit): Promise<Response>;
    apiURL(route: string): string;
  };
}
